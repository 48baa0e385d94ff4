//! Opens associations with other nodes.

use super::{Association, Context, abort};
use crate::address::{AeTitle, Destination};
use crate::error::NetError;
use crate::limits::Limits;
use crate::sop::APPLICATION_CONTEXT;
#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::uid::{IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION};
use crate::wire::{Stream, Wire, prepare};
use dicom_ul::pdu::{
    AssociationRJSource, AssociationRQ, Pdu, PresentationContextProposed, PresentationContextResultReason,
    UserVariableItem,
};
use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// The most addresses of a host that are tried.
const MAX_ADDRESSES: usize = 4;

/// A class and one of its encodings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub class: String,
    pub transfer_syntax: &'static str,
}

/// This node, as it calls others.
#[derive(Clone)]
pub(crate) struct Connector {
    pub title: AeTitle,
    pub limits: Limits,
    pub stop: Arc<AtomicBool>,
    #[cfg(feature = "tls")]
    pub tls: Option<Tls>,
}

impl Connector {
    /// Opens an association in which the peer accepted one of the proposals at least.
    pub(crate) fn open(&self, to: &Destination, proposals: &[Proposal]) -> Result<Association, NetError> {
        let tcp = self.connect(to).map_err(|source| NetError::Connect { address: to.address(), source })?;
        prepare(&tcp, &self.limits)?;
        let mut wire = Wire::new(self.stream(tcp, to)?, self.stop.clone(), &self.limits);
        match self.negotiate(&mut wire, to, proposals) {
            Ok((contexts, max_pdu)) => {
                Ok(Association::new(wire, contexts, to.title.to_string(), max_pdu, self.limits.clone()))
            }
            Err(error) => {
                abort(&mut wire, &error);
                Err(error)
            }
        }
    }

    fn connect(&self, to: &Destination) -> io::Result<TcpStream> {
        let mut last = io::Error::new(ErrorKind::NotFound, "the host has no address");
        for address in to.address().to_socket_addrs()?.take(MAX_ADDRESSES) {
            match TcpStream::connect_timeout(&address, self.limits.negotiation) {
                Ok(tcp) => return Ok(tcp),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "TLS needs both")]
    fn stream(&self, tcp: TcpStream, _to: &Destination) -> Result<Box<dyn Stream>, NetError> {
        Ok(Box::new(tcp))
    }

    #[cfg(feature = "tls")]
    fn stream(&self, tcp: TcpStream, to: &Destination) -> Result<Box<dyn Stream>, NetError> {
        match &self.tls {
            Some(tls) => tls.connect(tcp, &to.host, self.limits.negotiation),
            None => Ok(Box::new(tcp)),
        }
    }

    fn negotiate(
        &self,
        wire: &mut Wire,
        to: &Destination,
        proposals: &[Proposal],
    ) -> Result<(Vec<Context>, u32), NetError> {
        // Their numbers are odd.
        let numbered = || (0u8..128).map(|index| 2 * index + 1).zip(proposals);
        let proposed = numbered().map(|(id, proposal)| PresentationContextProposed {
            id,
            abstract_syntax: proposal.class.clone(),
            transfer_syntaxes: vec![proposal.transfer_syntax.into()],
        });
        wire.write(&Pdu::AssociationRQ(AssociationRQ {
            protocol_version: 1,
            calling_ae_title: self.title.to_string(),
            called_ae_title: to.title.to_string(),
            application_context_name: APPLICATION_CONTEXT.into(),
            presentation_contexts: proposed.collect(),
            user_variables: vec![
                UserVariableItem::MaxLength(self.limits.pdu_bytes),
                UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS.into()),
                UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION.into()),
            ],
        }))?;
        let patience = self.limits.negotiation.max(Duration::from_secs(1));
        let answer = match wire.read(patience)? {
            Pdu::AssociationAC(answer) => answer,
            Pdu::AssociationRJ(rejection) => {
                let reason = match rejection.source {
                    AssociationRJSource::ServiceUser(reason) => reason.to_string(),
                    AssociationRJSource::ServiceProviderASCE(reason) => reason.to_string(),
                    AssociationRJSource::ServiceProviderPresentation(reason) => reason.to_string(),
                };
                return Err(NetError::Rejected(reason));
            }
            Pdu::AbortRQ { .. } => return Err(NetError::Aborted),
            _ => return Err(NetError::Malformed("the answer to a request for an association is another")),
        };
        let mut contexts = Vec::new();
        for result in &answer.presentation_contexts {
            let accepted = result.reason == PresentationContextResultReason::Acceptance;
            let found = numbered().find(|(id, proposal)| {
                accepted
                    && *id == result.id
                    && proposal.transfer_syntax == result.transfer_syntax.trim_matches([' ', '\0'])
            });
            contexts.extend(found.map(|(id, proposal)| Context {
                id,
                abstract_syntax: proposal.class.clone(),
                transfer_syntax: proposal.transfer_syntax.into(),
            }));
        }
        let max_pdu = answer.user_variables.iter().find_map(|variable| match variable {
            UserVariableItem::MaxLength(length) => Some(*length),
            _ => None,
        });
        Ok((contexts, max_pdu.unwrap_or(0)))
    }
}
