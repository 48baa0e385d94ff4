//! A node and peers that behave correctly.

use super::client::{Answer, Client, Incoming, PATIENCE};
use super::{shipped, toy};
use causalclipseg::bundle::Bundle;
use causalclipseg::frame::{Frame, PixelFormat};
use causalclipseg::igtl::{
    CoordinateSystem, Geometry, Image, ImageHeader, Node, NodeOptions, NodeStatistics, Outgoing, Timestamp, TypeName,
    status_code,
};
use causalclipseg::mask::Mask;
use causalclipseg::stream::StreamOptions;
use causalclipseg::{Model, ModelOptions, Session, SessionOptions};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub fn toy_model() -> Arc<Model> {
    let bundle = Bundle::from_bytes(toy::builder().to_bytes().unwrap()).unwrap();
    Arc::new(Model::from_bundle(Arc::new(bundle), ModelOptions::default()).unwrap())
}

pub fn start(model: Arc<Model>, prompts: &[&str], options: NodeOptions) -> (Node, SocketAddr) {
    let node = Node::start(vec![model], prompts, StreamOptions::default(), options, |_| {}).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    node.listen(listener).unwrap();
    (node, address)
}

/// The mask of a library session for a grey frame. Only this function uses its interface.
fn mask_of(model: &Model, pixels: &[u8], [width, height]: [u16; 2], prompt: &str) -> Mask {
    let frame = Frame::packed(pixels, PixelFormat::Gray8, usize::from(width), usize::from(height)).unwrap();
    let mut session = Session::new(model, SessionOptions::default()).unwrap();
    session.run(&frame, &[model.prompt(prompt).unwrap()]).unwrap().findings[0].mask().clone()
}

/// The phantom of the documentation, in grey.
fn phantom() -> (Vec<u8>, [u16; 2]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images/phantom.png");
    let picture = image::open(path).unwrap().to_luma8();
    let size = [picture.width() as u16, picture.height() as u16];
    (picture.into_raw(), size)
}

/// An oblique plane with pixels that are not square.
fn geometry() -> Geometry {
    let (sine, cosine) = 0.3f32.sin_cos();
    let directions = [[cosine, sine, 0.0], [0.0, 0.0, -1.0], [-sine, cosine, 0.0]];
    Geometry::new([0.1, 0.2, 1.0], directions, [12.0, -7.5, 100.25])
}

#[test]
fn the_mask_is_the_sessions_and_lies_where_the_image_lies() {
    let prompt = "a nodule near the bottom of the image";
    let model = Arc::new(Model::open(&shipped(), ModelOptions::default()).unwrap());
    let (pixels, size) = phantom();
    let expected = mask_of(&model, &pixels, size, prompt);
    let lesion_px = expected.pixels().iter().filter(|pixel| **pixel != 0).count();
    assert!(lesion_px > 100, "the phantom's lesion is found: {lesion_px} pixels");
    let (node, address) = start(model, &[prompt], NodeOptions::default());
    for version in [1, 2] {
        let mut client = Client::connect(address);
        (client.version, client.message_id) = (version, 4711);
        let timestamp = Timestamp(0x6553_f100_1234_5678);
        let whole = ImageHeader::new(1, size[0], size[1], geometry());
        let header = ImageHeader { coordinates: CoordinateSystem::Lps, ..whole };
        client.send("Image_Reference", timestamp, Outgoing::Image(Image { header, pixels: &pixels }));

        let Incoming { header: envelope, message_id, metadata, answer } = client.wait_for("LesionMask");
        let Answer::Image(found, labels) = answer else { panic!("{answer:?}") };
        assert_eq!((envelope.version, envelope.timestamp), (version, timestamp));
        assert_eq!(found, header);
        let labels_of = |mask: &Mask| mask.pixels().iter().map(|pixel| u8::from(*pixel != 0)).collect::<Vec<u8>>();
        assert!(labels == labels_of(&expected), "the label map is the session's mask");
        if version == 2 {
            assert_eq!((message_id, metadata), (4711, vec![("prompt".to_string(), prompt.to_string())]));
        }

        let Incoming { header: envelope, answer, .. } = client.wait_for("LesionContour");
        let Answer::PolyData(data) = answer else { panic!("{answer:?}") };
        assert_eq!(envelope.timestamp, timestamp);
        check_contours(&expected, &data.points, &data.lines, size);

        let Incoming { header: envelope, answer, .. } = client.wait_for("LesionReport");
        let Answer::Text(report) = answer else { panic!("{answer:?}") };
        assert_eq!(envelope.timestamp, timestamp);
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!((report["area_px"].as_u64(), report["prompt"].as_str()), (Some(lesion_px as u64), Some(prompt)));
        assert_eq!(report["timestamp_us"], timestamp.micros());
        let area_mm2 = report["area_mm2"].as_f64().unwrap();
        assert!((area_mm2 - lesion_px as f64 * 0.02).abs() < 1e-3 * area_mm2, "{area_mm2}");
        assert!(report["quality"]["flags"].is_array(), "{report}");
    }
    let NodeStatistics { stream, images, connections, .. } = node.stop();
    assert_eq!((stream.processed, images, connections, stream.failed), (2, 2, 2, 0));
}

/// Each corner must be the mask's own, half a pixel up and left of a pixel's centre, mapped by the image's matrix.
fn check_contours(mask: &Mask, points: &[[f32; 3]], lines: &[Vec<u32>], [width, height]: [u16; 2]) {
    let contours = mask.contours();
    assert_eq!(lines.len(), contours.len());
    for (line, contour) in lines.iter().zip(&contours) {
        assert_eq!((line.len(), line.first()), (contour.points.len() + 1, line.last()));
        for (number, [x, y]) in line.iter().zip(&contour.points) {
            let centred = |at: u32, side: u16| f64::from(at) - f64::from(side) / 2.0;
            let (i, j) = (centred(*x, width), centred(*y, height));
            let Geometry { columns, centre } = geometry();
            for axis in 0..3 {
                let expected =
                    f64::from(columns[0][axis]) * i + f64::from(columns[1][axis]) * j + f64::from(centre[axis]);
                let found = f64::from(points[*number as usize][axis]);
                assert!((found - expected).abs() < 1e-3, "{found} {expected}");
            }
        }
    }
}

const SIZE: [u16; 2] = [40, 30];

/// Left half white.
fn half_white() -> Vec<u8> {
    (0..1200).map(|at| if at % 40 < 20 { 255 } else { 0 }).collect()
}

#[test]
fn prompts_change_while_images_come() {
    let (node, address) = start(toy_model(), &["a bright mass"], NodeOptions::default());
    let mut client = Client::connect(address);
    let labels = |client: &mut Client, at: usize| {
        client.send_image(&half_white(), SIZE, Geometry::default(), Timestamp(1));
        client.mask()[at]
    };
    assert_eq!((labels(&mut client, 5), labels(&mut client, 35)), (1, 0));
    client.send("Prompt", Timestamp(0), Outgoing::Text("a dark mass"));
    client.status(status_code::OK, "looking for: a dark mass");
    assert_eq!((labels(&mut client, 5), labels(&mut client, 35)), (0, 1));
    // An invalid prompt changes nothing.
    client.send("Prompt", Timestamp(0), Outgoing::Text("  \n"));
    client.status(status_code::CONFIGURATION, "holds no prompt");
    client.send("Prompt3", Timestamp(0), Outgoing::Text("a mass"));
    client.status(status_code::CONFIGURATION, "one after the other");
    client.send("Note", Timestamp(0), Outgoing::Text("a bright mass"));
    assert_eq!((labels(&mut client, 5), labels(&mut client, 35)), (0, 1));
    // A second prompt has separate results.
    client.send("Prompt2", Timestamp(0), Outgoing::Text("a bright mass"));
    client.status(status_code::OK, "a dark mass | a bright mass");
    client.send_image(&half_white(), SIZE, Geometry::default(), Timestamp(1));
    let Answer::Image(_, second) = client.wait_for("LesionMask2").answer else { panic!() };
    assert_eq!((second[5], second[35]), (1, 0));
    assert_eq!(node.prompts(), ["a dark mass", "a bright mass"]);
    let statistics = node.stop();
    assert_eq!((statistics.refused_prompts, statistics.stream.prompt_changes), (2, 2));
}

#[test]
fn who_sends_no_images_sees_all_results() {
    let options = NodeOptions { max_peers: 2, ..NodeOptions::default() };
    let (node, address) = start(toy_model(), &["a bright mass"], options);
    let mut viewer = Client::connect(address);
    viewer.status(status_code::OK, "looking for: a bright mass");
    let mut sender = Client::connect(address);
    sender.send_image(&half_white(), SIZE, Geometry::default(), Timestamp(7));
    assert_eq!(sender.mask(), viewer.mask());
    let mut third = Client::connect(address);
    third.status(status_code::BUSY, "2 peers are connected already");
    third.wait_for_end();
    // A peer that leaves frees its connection.
    drop(sender);
    let begun = Instant::now();
    while node.statistics().peers > 1 {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut third = Client::connect(address);
    third.status(status_code::OK, "looking for");
    assert_eq!(node.stop().turned_away, 1);
    // All peers are told that the node ends.
    viewer.status(status_code::EXITING, "ends");
    viewer.wait_for_end();
}

#[test]
fn requests_start_and_stop_results() {
    let (_node, address) = start(toy_model(), &["a bright mass"], NodeOptions::default());
    let mut client = Client::connect(address);
    let ask = |client: &mut Client, kind: &str| {
        client.send("Asker", Timestamp(0), Outgoing::Empty(TypeName::new(kind).unwrap()));
        client.wait_for("Asker")
    };
    for kind in ["STP_IMAGE", "STP_POLYDATA"] {
        assert!(matches!(ask(&mut client, kind).answer, Answer::Done(true)));
    }
    client.send_image(&half_white(), SIZE, Geometry::default(), Timestamp(7));
    loop {
        let Incoming { header, answer, .. } = client.next().unwrap();
        assert!(!matches!(answer, Answer::Image(..) | Answer::PolyData(_)), "{header:?}");
        if header.device == "LesionReport" {
            break;
        }
    }
    let started = ask(&mut client, "STT_IMAGE");
    assert_eq!(started.header.kind, "RTS_IMAGE");
    client.send_image(&half_white(), SIZE, Geometry::default(), Timestamp(7));
    assert_eq!(client.mask().len(), 1200);
    assert!(matches!(ask(&mut client, "STT_TDATA").answer, Answer::Done(false)));
    assert_eq!(ask(&mut client, "GET_CAPABIL").header.kind, "CAPABILITY");
    client.send("", Timestamp(0), Outgoing::Empty(TypeName::new("GET_STATUS").unwrap()));
    client.status(status_code::OK, "a bright mass");
    client.send("", Timestamp(0), Outgoing::Empty(TypeName::new("GET_POINT").unwrap()));
    client.status(status_code::UNKNOWN_INSTRUCTION, "GET_POINT");
}

#[test]
fn a_node_connects_again_and_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let prompts = ["a bright mass"];
    let options = (StreamOptions::default(), NodeOptions::default());
    let node = Node::start(vec![toy_model()], &prompts, options.0, options.1, |_| {}).unwrap();
    node.connect(address.to_string()).unwrap();
    for round in 0..3 {
        let mut server = Client::new(listener.accept().unwrap().0);
        server.send_image(&half_white(), SIZE, Geometry::default(), Timestamp(round));
        assert_eq!(server.mask().len(), 1200, "round {round}");
    }
    let statistics = node.stop();
    assert_eq!((statistics.stream.processed, statistics.connections), (3, 3));
}

#[test]
fn unusable_images_are_refused_with_a_reason() {
    let options = NodeOptions {
        image_device: Some(causalclipseg::igtl::DeviceName::new("Image").unwrap()),
        ..NodeOptions::default()
    };
    let (node, address) = start(toy_model(), &["a bright mass"], options);
    let mut client = Client::connect(address);
    let volume =
        ImageHeader { size: [2, 2, 3], part_size: [2, 2, 3], ..ImageHeader::new(1, 2, 2, Geometry::default()) };
    client.send("Image", Timestamp(0), Outgoing::Image(Image { header: volume, pixels: &[0; 12] }));
    client.status(status_code::UNKNOWN_INSTRUCTION, "3 slices");
    let huge = ImageHeader { size: [16384, 16384, 1], part_size: [1, 1, 1], ..volume };
    client.send("Image", Timestamp(0), Outgoing::Image(Image { header: huge, pixels: &[0; 1] }));
    client.status(status_code::UNKNOWN_INSTRUCTION, "more than the limit");
    client.send("", Timestamp(0), Outgoing::Empty(TypeName::new("VIDEO").unwrap()));
    client.status(status_code::UNKNOWN_INSTRUCTION, "VIDEO messages are not decoded");
    // An image of another device, and one of our own masks sent back: neither is answered.
    let header = ImageHeader::new(1, 40, 30, Geometry::default());
    for device in ["Other", "LesionMask"] {
        client.send(device, Timestamp(0), Outgoing::Image(Image { header, pixels: &half_white() }));
    }
    client.send_image(&half_white(), SIZE, Geometry::default(), Timestamp(7));
    assert_eq!(client.mask().len(), 1200);
    let statistics = node.stop();
    assert_eq!((statistics.refused_images, statistics.ignored_images, statistics.stream.processed), (2, 2, 1));
    assert_eq!(statistics.skipped_messages, 1);
}

#[test]
fn names_that_fit_no_message_are_refused() {
    let refused = |name: &str, prompts: &[&str]| {
        let options = NodeOptions { name: name.into(), ..NodeOptions::default() };
        let node = Node::start(vec![toy_model()], prompts, StreamOptions::default(), options, |_| {});
        node.err().expect("the node does not start").to_string()
    };
    assert!(refused("a name", &["a mass"]).contains("`a name`"));
    assert!(refused("Lesion", &["a mass"; 17]).contains("17 prompts"));
    assert!(refused("Lesion", &[]).contains("prompt"));
}
