//! TLS between nodes, with certificates that OpenSSL makes; without its command the test says so and ends.

use super::*;
use crate::command::SUCCESS;
use crate::{ClientCertificates, NetError, Tls};
use std::net::TcpStream;
use std::process::Command;

/// Makes an authority, and a certificate for the loopback address that it signed.
fn make(folder: &Path, name: &str) -> bool {
    let script = format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name}-ca \
           -addext basicConstraints=critical,CA:TRUE -keyout {name}-ca.key -out {name}-ca.pem && \
         openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr && \
         printf 'subjectAltName=IP:127.0.0.1\\nbasicConstraints=CA:FALSE' > {name}.ext && \
         openssl x509 -req -in {name}.csr -CA {name}-ca.pem -CAkey {name}-ca.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.pem"
    );
    let made = Command::new("sh").args(["-c", &script]).current_dir(folder).output();
    made.is_ok_and(|made| made.status.success())
}

#[test]
fn associations_are_encrypted_and_certificates_checked() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    if !["ours", "others"].iter().all(|name| make(folder.path(), name)) {
        println!("skipped: `openssl` is missing, which makes the certificates");
        return;
    }
    let tls = |own: &str, trusted: &str, clients| {
        let files = [format!("{own}.pem"), format!("{own}.key"), format!("{trusted}-ca.pem")].map(|name| at(&name));
        Tls::from_files(&files[0], &files[1], &files[2], clients).unwrap()
    };
    let required = ClientCertificates::Required;
    let listen_tls = Some(tls("ours", "ours", required));
    let (node, address) = start(NodeOptions { listen_tls, ..options(&at("queue"), vec![]) });
    let by = |tls: Option<Tls>| Connector { tls, ..connector("MODALITY") };
    let proposals = [Proposal { class: US.into(), transfer_syntax: IMPLICIT }];
    let to_node = to("NODE", address);

    let file = instance(folder.path(), US, "1.2.3", 3_000_000);
    let mut association = by(Some(tls("ours", "ours", required))).open(&to_node, &proposals).unwrap();
    assert_eq!(crate::sender::store(&mut association, &file).unwrap(), Some(SUCCESS));
    association.release().unwrap();
    // Plain, by another authority's certificate, and a node that is not trusted.
    assert!(by(None).open(&to_node, &proposals).is_err());
    assert!(by(Some(tls("others", "ours", required))).open(&to_node, &proposals).is_err());
    match by(Some(tls("ours", "others", required))).open(&to_node, &proposals) {
        Err(NetError::Tls(reason)) => assert!(reason.contains("certificate"), "{reason}"),
        other => panic!("{:?}", other.map(|_| "accepted").map_err(|error| error.to_string())),
    }
    // Rubbish, and a handshake that stops.
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 2, 0], &[]] {
        let mut tcp = TcpStream::connect(address).unwrap();
        tcp.write_all(bytes).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let _ = std::io::Read::read_to_end(&mut tcp, &mut Vec::new());
    }
    assert!(by(Some(tls("ours", "ours", required))).open(&to_node, &proposals).is_ok());
    wait_for("processing", || node.statistics().processed == 1);
    assert_eq!(node.statistics().received, 1);

    let failed = |certificate: &str, key: &str| {
        Tls::from_files(&at(certificate), &at(key), &at("ours-ca.pem"), required).err().unwrap().to_string()
    };
    assert!(failed("ours.key", "ours.key").contains("the node's certificate"));
    assert!(failed("ours.pem", "ours.pem").contains("a private key"));
    assert!(failed("ours.pem", "none.key").contains("none.key"));
    assert!(failed("ours.pem", "others.key").contains("belong together"));
}
