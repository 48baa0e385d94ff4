//! The options of encryption.

use super::super::Failure;
use causalclipseg_dicom_net::{ClientCertificates, NodeOptions, Tls};
use clap::ValueEnum;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(super) struct TlsArguments {
    /// Which associations are encrypted, by TLS 1.2 or 1.3
    #[arg(long, value_enum, requires_all = ["tls_cert", "tls_key", "tls_ca"])]
    tls: Option<Direction>,
    /// PEM file with this node's certificate, and those between it and its authority
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_cert: Option<PathBuf>,
    /// PEM file with this node's private key
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_key: Option<PathBuf>,
    /// PEM file with the certificates of the authorities that sign the peers'
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_ca: Option<PathBuf>,
    /// Whether peers that call must show a certificate
    #[arg(long, value_enum, default_value = "required")]
    tls_clients: Clients,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Direction {
    /// Those of peers with this node
    Listen,
    /// Those of this node with destinations
    Send,
    Both,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Clients {
    Required,
    Optional,
}

impl TlsArguments {
    /// Adds encryption to a node's options.
    pub(super) fn add_to(&self, options: &mut NodeOptions) -> Result<(), Failure> {
        let (Some(direction), Some(certificate), Some(key), Some(authorities)) =
            (self.tls, &self.tls_cert, &self.tls_key, &self.tls_ca)
        else {
            return Ok(());
        };
        let clients = match self.tls_clients {
            Clients::Required => ClientCertificates::Required,
            Clients::Optional => ClientCertificates::Optional,
        };
        let tls = Tls::from_files(certificate, key, authorities, clients)?;
        if direction != Direction::Send {
            options.listen_tls = Some(tls.clone());
        }
        if direction != Direction::Listen {
            options.send_tls = Some(tls);
        }
        Ok(())
    }
}
