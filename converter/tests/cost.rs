//! The published network's cost, before and after the exact rewrites.

use causalclipseg::graph::Graph;
use causalclipseg::lower::rewrite;
use causalclipseg_convert::model::{Architecture, Edition, Masks};
use ndarray::ArrayD;

/// Removes the adversarial head, as in deployment.
fn pred_only(graph: &Graph) -> Graph {
    graph.with_heads(false).unwrap()
}

#[test]
fn rewrites_make_rn101_four_times_cheaper() {
    let graph = Architecture::of(Edition::Rn101, 224).describe().unwrap();
    let (both, single) = (graph.gmac(0), pred_only(&graph));
    // Zeros are enough to count, and cost no memory until they are touched.
    let weights = single.parameters().into_iter().map(|p| (p.name, ArrayD::zeros(p.shape))).collect();
    let (rewritten, _) = rewrite(single.clone(), weights).unwrap();
    let (published, text, rewritten) = (single.gmac(0), single.gmac(20) - single.gmac(0), rewritten.gmac(0));
    println!("published {published:.2}, with pred_ad {both:.2}, rewritten {rewritten:.2}, text {text:.3} GMAC");
    assert!((published - 87.0).abs() < 1.0, "published: {published}");
    assert!((both - 157.0).abs() < 1.0, "published, both heads: {both}");
    // 21.24 are products with weights; the blends' interpolation makes up the rest of 21.6.
    assert!((rewritten - 21.24).abs() < 0.05, "rewritten: {rewritten}");
    assert!((text - 0.76).abs() < 0.03, "text: {text}");
}

/// Parameters with both heads, and GMAC per image of 224 x 224 pixels after the rewrites, the prompt cached.
fn cost(edition: Edition) -> (usize, f64) {
    let graph = Architecture::of(edition, 224).describe().unwrap();
    let parameters: usize = graph.parameters().iter().map(|p| p.shape.iter().product::<usize>()).sum();
    let single = pred_only(&graph);
    let weights = single.parameters().into_iter().map(|p| (p.name, ArrayD::zeros(p.shape))).collect();
    let rewritten = rewrite(single, weights).unwrap().0.gmac(0);
    println!("{edition}: {parameters} parameters with both heads, {rewritten:.3} GMAC rewritten");
    (parameters, rewritten)
}

/// Open masks save the maskers, a quarter of RN101's products and more of tiny's.
#[test]
fn networks_without_maskers_cost_less() {
    for (edition, share) in [(Edition::Rn101, 0.74), (Edition::Tiny, 0.73)] {
        let gmac = [Masks::Learned, Masks::Open].map(|masks| {
            let graph = pred_only(&Architecture { masks, ..Architecture::of(edition, 224) }.describe().unwrap());
            let weights = graph.parameters().into_iter().map(|p| (p.name, ArrayD::zeros(p.shape))).collect();
            rewrite(graph, weights).unwrap().0.gmac(0)
        });
        println!("{edition}: {:.2} GMAC, with open masks {:.2}", gmac[0], gmac[1]);
        assert!((gmac[1] / gmac[0] - share).abs() < 0.02, "{edition}: {gmac:?}");
    }
}

#[test]
fn our_editions_are_within_their_limits() {
    let (parameters, gmac) = cost(Edition::Tiny);
    assert!(parameters < 8_000_000 && gmac < 1.5, "{parameters}, {gmac}");
    let (parameters, gmac) = cost(Edition::Small);
    assert!(parameters < 16_000_000 && gmac < 2.5, "{parameters}, {gmac}");
}
