//! Bills of materials in CycloneDX 1.6 and SPDX 2.3. They leave out times and random numbers, so that equal dependencies give
//! equal files.

use crate::components::Component;
use serde_json::{Value, json};

fn purl(component: &Component) -> String {
    let Component { name, version, is_own, .. } = component;
    // Crates of this project are not published.
    if *is_own { format!("pkg:generic/{name}@{version}") } else { format!("pkg:cargo/{name}@{version}") }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

pub(crate) fn cyclonedx(build: &[Component]) -> String {
    let described = |component: &Component| {
        let mut described = json!({
            "type": "library",
            "bom-ref": purl(component),
            "name": component.name,
            "version": component.version,
            "licenses": [{ "expression": component.licence }],
            "purl": purl(component),
        });
        if !component.checksum.is_empty() {
            described["hashes"] = json!([{ "alg": "SHA-256", "content": component.checksum }]);
        }
        if !component.repository.is_empty() {
            described["externalReferences"] = json!([{ "type": "vcs", "url": component.repository }]);
        }
        described
    };
    let edges = |component: &Component| {
        let of = |key: &(String, String)| build.iter().find(|other| other.key() == *key).map(purl).unwrap();
        json!({ "ref": purl(component), "dependsOn": component.dependencies.iter().map(of).collect::<Vec<_>>() })
    };
    pretty(&json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": described(&build[0]) },
        "components": build[1..].iter().map(described).collect::<Vec<_>>(),
        "dependencies": build.iter().map(edges).collect::<Vec<_>>(),
    }))
}

pub(crate) fn spdx(build: &[Component]) -> String {
    // Letters, digits, dots and hyphens alone.
    let id = |name: &str, version: &str| {
        let text = format!("{name}-{version}");
        let text: String = text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
        format!("SPDXRef-Package-{text}")
    };
    let described = |component: &Component| {
        let Component { name, version, licence, checksum, repository, is_own, .. } = component;
        let location = match (is_own, repository.is_empty()) {
            (false, _) => format!("https://crates.io/api/v1/crates/{name}/{version}/download"),
            (true, _) => "NOASSERTION".to_string(),
        };
        let mut described = json!({
            "SPDXID": id(name, version),
            "name": name,
            "versionInfo": version,
            "downloadLocation": location,
            "filesAnalyzed": false,
            "licenseConcluded": licence,
            "licenseDeclared": licence,
            "copyrightText": "NOASSERTION",
            "externalRefs": [{
                "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl(component),
            }],
        });
        if !checksum.is_empty() {
            described["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": checksum }]);
        }
        if !repository.is_empty() {
            described["homepage"] = json!(repository);
        }
        described
    };
    let mut relationships = vec![json!({
        "spdxElementId": "SPDXRef-DOCUMENT",
        "relationshipType": "DESCRIBES",
        "relatedSpdxElement": id(&build[0].name, &build[0].version),
    })];
    for component in build {
        relationships.extend(component.dependencies.iter().map(|(name, version)| {
            json!({
                "spdxElementId": id(&component.name, &component.version),
                "relationshipType": "DEPENDS_ON",
                "relatedSpdxElement": id(name, version),
            })
        }));
    }
    pretty(&json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("causalclipseg-{}-device", build[0].version),
        "documentNamespace": format!("https://example.org/causalclipseg/{}/device", build[0].version),
        "creationInfo": { "created": "1970-01-01T00:00:00Z", "creators": ["Tool: causalclipseg-tests-regulatory"] },
        "packages": build.iter().map(described).collect::<Vec<_>>(),
        "relationships": relationships,
    }))
}
