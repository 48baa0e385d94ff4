//! Prompts that peers send, and the thread that encodes them.

use super::counters::count;
use super::outbox::Slot;
use super::peer::Peer;
use super::{LOOK_AROUND, Shared};
use crate::igtl::{DeviceName, Status, status_code};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};

/// The most prompts at a time.
pub(super) const MAX_PROMPTS: usize = 16;
/// The longest prompt, in bytes: many times what the network reads.
const MAX_PROMPT_BYTES: usize = 4096;
/// The most changes that wait while one is being encoded.
const MAX_WAITING: usize = 16;

/// The change that a STRING requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PromptChange {
    /// Replace all prompts by these.
    All(Vec<String>),
    /// Replace the prompt with this number, from 0.
    One(usize, String),
}

impl PromptChange {
    /// The change that a text from `device` requests; `None` where the device is not `prompt_device` with or without a
    /// number.
    pub(crate) fn of(device: &DeviceName, prompt_device: &str, text: &str) -> Option<Result<Self, String>> {
        let number = device.as_bytes().strip_prefix(prompt_device.as_bytes())?;
        let number = std::str::from_utf8(number).ok()?;
        let prompts: Vec<String> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect();
        let one = match number {
            "" => None,
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse::<usize>()),
            _ => return None,
        };
        Some(match (one, prompts.as_slice()) {
            (_, []) => Err("it holds no prompt: say what to look for".into()),
            _ if prompts.iter().any(|prompt| prompt.len() > MAX_PROMPT_BYTES) => {
                Err(format!("a prompt has more than {MAX_PROMPT_BYTES} bytes: say it in a sentence"))
            }
            (None, _) if prompts.len() > MAX_PROMPTS => {
                Err(format!("{} prompts are more than {MAX_PROMPTS}: send fewer", prompts.len()))
            }
            (None, _) => Ok(Self::All(prompts)),
            (Some(Ok(number @ 1..=MAX_PROMPTS)), [prompt]) => Ok(Self::One(number - 1, prompt.clone())),
            (Some(Ok(1..=MAX_PROMPTS)), _) => {
                Err("it holds several lines: send one prompt to a numbered device".into())
            }
            (Some(_), _) => Err(format!("its number is not 1 to {MAX_PROMPTS}")),
        })
    }

    /// The prompts after this change.
    fn applied(&self, mut prompts: Vec<String>) -> Result<Vec<String>, String> {
        match self {
            Self::All(new) => return Ok(new.clone()),
            Self::One(at, prompt) => match prompts.len() {
                count if *at < count => prompts[*at] = prompt.clone(),
                count if *at == count => prompts.push(prompt.clone()),
                count => return Err(format!("there are {count} prompts: add them one after the other")),
            },
        }
        Ok(prompts)
    }
}

type Waiting = (Arc<Peer>, PromptChange);

/// A channel to the thread that encodes prompts: a text encoder takes longer than a frame may wait.
pub(super) struct PromptThread(SyncSender<Waiting>);

impl PromptThread {
    pub(crate) fn new() -> (Self, Receiver<Waiting>) {
        let (sender, receiver) = mpsc::sync_channel(MAX_WAITING);
        (Self(sender), receiver)
    }

    /// Passes a change on; `false` where too many wait.
    pub(crate) fn ask(&self, peer: &Arc<Peer>, change: PromptChange) -> bool {
        self.0.try_send((peer.clone(), change)).is_ok()
    }
}

/// Encodes prompts until the node stops.
pub(super) fn run(shared: &Shared, changes: &Receiver<Waiting>) {
    while !shared.hub.is_stopping() {
        match changes.recv_timeout(LOOK_AROUND) {
            Ok((peer, change)) => {
                let status = match change_prompts(shared, &change) {
                    Ok(prompts) => Status::new(status_code::OK, format!("looking for: {}", prompts.join(" | "))),
                    Err(reason) => {
                        count(&shared.hub.counters.refused_prompts);
                        Status::new(status_code::CONFIGURATION, format!("the prompt is not taken: {reason}"))
                    }
                };
                peer.outbox().push(Slot::Reply, shared.hub.status_message(peer.version(), &status));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn change_prompts(shared: &Shared, change: &PromptChange) -> Result<Vec<String>, String> {
    let prompts = change.applied(shared.hub.prompts())?;
    let texts: Vec<&str> = prompts.iter().map(String::as_str).collect();
    shared.segmenter.set_prompts(&texts).map_err(|error| error.to_string())?;
    shared.hub.set_prompts(prompts.clone());
    Ok(prompts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(device: &str, text: &str) -> Option<Result<PromptChange, String>> {
        PromptChange::of(&DeviceName::new(device).unwrap(), "Prompt", text)
    }

    #[test]
    fn the_device_says_which_prompt() {
        let all = |prompts: &[&str]| Some(Ok(PromptChange::All(prompts.iter().map(|text| text.to_string()).collect())));
        assert_eq!(change("Prompt", " a mass \n\nthe nodule\r\n"), all(&["a mass", "the nodule"]));
        assert_eq!(change("Prompt2", "a mass"), Some(Ok(PromptChange::One(1, "a mass".into()))));
        assert_eq!((change("Note", "a mass"), change("PromptX", "a mass")), (None, None));
        for (device, text) in [
            ("Prompt", " \n "),
            ("Prompt0", "a mass"),
            ("Prompt17", "a mass"),
            ("Prompt1", "two\nlines"),
            ("Prompt99999999999999", "a mass"),
        ] {
            assert!(matches!(change(device, text), Some(Err(_))), "{device} {text}");
        }
        assert!(change("Prompt", &"a\n".repeat(17)).unwrap().is_err());
        assert!(change("Prompt", &"a".repeat(4097)).unwrap().is_err());
    }

    #[test]
    fn numbers_follow_each_other() {
        let prompts = vec!["a".to_string()];
        assert_eq!(PromptChange::One(0, "b".into()).applied(prompts.clone()).unwrap(), ["b"]);
        assert_eq!(PromptChange::One(1, "b".into()).applied(prompts.clone()).unwrap(), ["a", "b"]);
        assert!(PromptChange::One(2, "b".into()).applied(prompts).is_err());
    }
}
