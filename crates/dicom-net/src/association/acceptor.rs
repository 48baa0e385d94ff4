//! Accepts associations: titles are checked, and services and encodings agreed upon.

use super::{Association, Context, abort};
use crate::address::AeTitle;
use crate::error::NetError;
use crate::limits::Limits;
use crate::sop::{APPLICATION_CONTEXT, COMMITMENT, EXPLICIT, IMPLICIT, VERIFICATION};
use crate::uid::{IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION};
use crate::wire::Wire;
use dicom_ul::pdu::{
    AssociationAC, AssociationRJ, AssociationRJResult, AssociationRJServiceProviderASCEReason,
    AssociationRJServiceProviderPresentationReason, AssociationRJServiceUserReason, AssociationRJSource, AssociationRQ,
    Pdu, PresentationContextProposed, PresentationContextResult, PresentationContextResultReason, RequestorRoles,
    UserVariableItem,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// The most contexts of an association: their numbers are odd and have eight bits.
const MAX_CONTEXTS: usize = 128;

/// Who may open associations, and for what.
#[derive(Clone, Debug)]
pub(crate) struct Acceptor {
    pub title: AeTitle,
    /// Titles of peers; empty for any.
    pub callers: Vec<AeTitle>,
    /// Storage classes that are received.
    pub classes: Vec<String>,
    /// Encodings of received instances.
    pub transfer_syntaxes: Vec<String>,
    pub limits: Limits,
}

impl Acceptor {
    /// Negotiates. A peer that is refused is told so.
    pub(crate) fn accept(&self, mut wire: Wire) -> Result<Association, NetError> {
        match self.negotiate(&mut wire) {
            Ok((contexts, peer, max_pdu)) => Ok(Association::new(wire, contexts, peer, max_pdu, self.limits.clone())),
            Err(error @ NetError::Refused { .. }) => Err(error),
            Err(error) => {
                abort(&mut wire, &error);
                Err(error)
            }
        }
    }

    fn negotiate(&self, wire: &mut Wire) -> Result<(Vec<Context>, String, u32), NetError> {
        let Pdu::AssociationRQ(request) = wire.read(self.limits.negotiation)? else {
            return Err(NetError::Malformed("the first protocol data unit is not a request for an association"));
        };
        if let Some((source, reason)) = self.objection(&request) {
            reject(wire, AssociationRJResult::Permanent, source);
            return Err(NetError::Refused { calling: printable(&request.calling_ae_title), reason });
        }
        let mut seen = BTreeSet::new();
        let mut results = Vec::new();
        let mut contexts = Vec::new();
        for proposed in &request.presentation_contexts {
            if proposed.id % 2 == 0 || !seen.insert(proposed.id) {
                return Err(NetError::Malformed("presentation contexts with wrong numbers"));
            }
            let result = match self.choose(proposed) {
                Ok(transfer_syntax) => {
                    contexts.push(Context {
                        id: proposed.id,
                        abstract_syntax: trimmed(&proposed.abstract_syntax).to_string(),
                        transfer_syntax: transfer_syntax.clone(),
                    });
                    (PresentationContextResultReason::Acceptance, transfer_syntax)
                }
                // Which encoding is named does not matter, but one must be.
                Err(reason) => (reason, IMPLICIT.to_string()),
            };
            results.push(PresentationContextResult { id: proposed.id, reason: result.0, transfer_syntax: result.1 });
        }
        let mut user_variables = vec![
            UserVariableItem::MaxLength(self.limits.pdu_bytes),
            UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS.into()),
            UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION.into()),
        ];
        let mut max_pdu = 0;
        for variable in &request.user_variables {
            match variable {
                UserVariableItem::MaxLength(length) => max_pdu = *length,
                // An archive reports commitments as the provider of that class, on an association that it opens.
                UserVariableItem::ScuScpRoleSelectionSubItem(class, roles) if trimmed(class) == COMMITMENT => {
                    let roles = RequestorRoles { scu: roles.scu, scp: roles.scp };
                    user_variables.push(UserVariableItem::ScuScpRoleSelectionSubItem(COMMITMENT.into(), roles));
                }
                _ => {}
            }
        }
        wire.write(&Pdu::AssociationAC(AssociationAC {
            protocol_version: 1,
            calling_ae_title: request.calling_ae_title.clone(),
            called_ae_title: request.called_ae_title,
            application_context_name: APPLICATION_CONTEXT.into(),
            presentation_contexts: results,
            user_variables,
        }))?;
        if contexts.is_empty() {
            log::info!(
                "`{}` proposed {}, none of which is received here",
                printable(&request.calling_ae_title),
                proposals(&request.presentation_contexts)
            );
        }
        Ok((contexts, request.calling_ae_title.trim().to_string(), max_pdu))
    }

    /// Whether instances of a class are received.
    pub(crate) fn stores(&self, class: &str) -> bool {
        self.classes.iter().any(|known| known == class)
    }

    fn objection(&self, request: &AssociationRQ) -> Option<(AssociationRJSource, &'static str)> {
        use AssociationRJServiceUserReason as User;
        let user = |reason| AssociationRJSource::ServiceUser(reason);
        let calling = request.calling_ae_title.trim();
        if request.protocol_version & 1 == 0 {
            let reason = AssociationRJServiceProviderASCEReason::ProtocolVersionNotSupported;
            return Some((AssociationRJSource::ServiceProviderASCE(reason), "its protocol version is not 1"));
        }
        if trimmed(&request.application_context_name) != APPLICATION_CONTEXT {
            return Some((user(User::ApplicationContextNameNotSupported), "its application context is not DICOM's"));
        }
        if request.called_ae_title.trim() != self.title.as_str() {
            return Some((user(User::CalledAETitleNotRecognized), "it called another title than this node's"));
        }
        let listed = self.callers.is_empty() || self.callers.iter().any(|title| title.as_str() == calling);
        if calling.is_empty() || !listed {
            return Some((user(User::CallingAETitleNotRecognized), "its title is not among those that may call"));
        }
        if request.presentation_contexts.is_empty() || request.presentation_contexts.len() > MAX_CONTEXTS {
            return Some((user(User::NoReasonGiven), "it proposed no service, or too many"));
        }
        None
    }

    /// The encoding for a proposed context: the first proposed one that is read here.
    fn choose(&self, proposed: &PresentationContextProposed) -> Result<String, PresentationContextResultReason> {
        let class = trimmed(&proposed.abstract_syntax);
        let offered = || proposed.transfer_syntaxes.iter().map(|syntax| trimmed(syntax));
        let chosen = match class {
            VERIFICATION => offered().find(|syntax| [IMPLICIT, EXPLICIT].contains(syntax)),
            // Its data sets are read here, in the encoding that everyone has.
            COMMITMENT => offered().find(|syntax| *syntax == IMPLICIT),
            _ if self.stores(class) => {
                offered().find(|syntax| self.transfer_syntaxes.iter().any(|known| known == syntax))
            }
            _ => return Err(PresentationContextResultReason::AbstractSyntaxNotSupported),
        };
        chosen.map(str::to_string).ok_or(PresentationContextResultReason::TransferSyntaxesNotSupported)
    }
}

/// Refuses a peer because there are enough of them.
pub(crate) fn turn_away(mut wire: Wire, patience: Duration) {
    if let Ok(Pdu::AssociationRQ(_)) = wire.read(patience) {
        let reason = AssociationRJServiceProviderPresentationReason::LocalLimitExceeded;
        let source = AssociationRJSource::ServiceProviderPresentation(reason);
        reject(&mut wire, AssociationRJResult::Transient, source);
    }
    wire.shut_down();
}

fn reject(wire: &mut Wire, result: AssociationRJResult, source: AssociationRJSource) {
    let _ = wire.write(&Pdu::AssociationRJ(AssociationRJ { result, source }));
    // The peer closes; until then it reads the reason.
    let _ = wire.read(Duration::from_secs(1));
    wire.shut_down();
}

fn trimmed(uid: &str) -> &str {
    uid.trim_matches([' ', '\0'])
}

/// A peer's text for a log.
fn printable(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

fn proposals(contexts: &[PresentationContextProposed]) -> String {
    let mut classes: Vec<String> = contexts.iter().take(4).map(|context| printable(&context.abstract_syntax)).collect();
    if contexts.len() > 4 {
        classes.push(format!("{} more", contexts.len() - 4));
    }
    classes.join(", ")
}
