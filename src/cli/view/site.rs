//! The page's files, and what it asks for.

use super::super::http::{Reply, Request, Site};
use super::super::one_line;
use super::picture::Picture;
use super::screen::{Screen, Setting, State};
use causalclipseg::stream::{Statistics, Stream};
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// The most prompts at a time.
const MAX_PROMPTS: usize = 16;
/// The longest prompt, in bytes: many times what the network reads.
const MAX_PROMPT_BYTES: usize = 4096;
/// How long a request for the next frame waits before it is answered without one.
const FRAME_PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct ViewSite {
    screen: Arc<Screen>,
    stream: Arc<Stream>,
}

/// The part of an answer to `/next` before the pixels.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    setting: &'a Setting,
    #[serde(flatten)]
    state: State,
    statistics: Statistics,
    /// The newest frame, where it is another than the one that the page has.
    frame: Option<&'a Picture>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prompts {
    prompts: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pause {
    paused: bool,
}

impl ViewSite {
    pub(super) fn new(screen: Arc<Screen>, stream: Arc<Stream>) -> Self {
        Self { screen, stream }
    }

    /// Four bytes with the length of the JSON, low byte first, the JSON, and the frame's pixels.
    async fn next(&self, query: &str) -> Reply {
        let Some(seen) = query.strip_prefix("after=").and_then(|number| number.parse().ok()) else {
            return Reply::refusal(
                StatusCode::BAD_REQUEST,
                "give the number of the frame that is shown, as in ?after=0",
            );
        };
        let picture = self.screen.other_than(seen, FRAME_PATIENCE).await;
        let answer = Answer {
            setting: &self.screen.setting,
            state: self.screen.state().clone(),
            statistics: self.stream.statistics(),
            frame: picture.as_deref(),
        };
        let json = match serde_json::to_vec(&answer) {
            Ok(json) => json,
            Err(error) => return Reply::refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        };
        let pixels = picture.as_deref().map_or(&[][..], |picture| &picture.rgba);
        // A frame's findings are far below 4 GiB.
        let length = u32::try_from(json.len()).unwrap_or(u32::MAX).to_le_bytes();
        Reply::new("application/octet-stream", [&length, json.as_slice(), pixels].concat())
    }

    async fn change_prompts(&self, body: &[u8]) -> Reply {
        let refuse = |reason: String| Reply::refusal(StatusCode::BAD_REQUEST, reason);
        let prompts = match serde_json::from_slice::<Prompts>(body) {
            Ok(Prompts { prompts }) => prompts,
            Err(error) => return refuse(format!("the prompts cannot be read ({error})")),
        };
        let prompts: Vec<String> = prompts.iter().map(|prompt| prompt.trim().to_string()).collect();
        match prompts.len() {
            _ if prompts.iter().all(String::is_empty) => {
                return refuse("write what to look for, one sentence a line".into());
            }
            number if number > MAX_PROMPTS => return refuse(format!("{number} prompts are more than {MAX_PROMPTS}")),
            _ if prompts.iter().any(|prompt| prompt.len() > MAX_PROMPT_BYTES) => {
                return refuse(format!("a prompt has more than {MAX_PROMPT_BYTES} bytes; say it in a sentence"));
            }
            _ => {}
        }
        let prompts: Vec<String> = prompts.into_iter().filter(|prompt| !prompt.is_empty()).collect();
        let (stream, screen) = (self.stream.clone(), self.screen.clone());
        // Encoding takes milliseconds, in which other pages still get their frames.
        let change = move || {
            let sentences: Vec<&str> = prompts.iter().map(String::as_str).collect();
            stream.set_prompts(&sentences).map_err(|error| one_line(&error))?;
            screen.state().prompts = prompts;
            screen.ask_again();
            Ok(())
        };
        match tokio::task::spawn_blocking(change).await {
            Ok(Ok(())) => self.confirm(),
            Ok(Err(reason)) => refuse(reason),
            Err(error) => Reply::refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }

    fn pause(&self, body: &[u8]) -> Reply {
        match serde_json::from_slice::<Pause>(body) {
            Ok(Pause { paused }) => {
                self.screen.state().paused = paused;
                self.confirm()
            }
            Err(error) => Reply::refusal(StatusCode::BAD_REQUEST, format!("the request cannot be read ({error})")),
        }
    }

    /// The state after a change.
    fn confirm(&self) -> Reply {
        Reply::json(&*self.screen.state())
    }
}

impl Site for ViewSite {
    async fn answer(&self, request: Request) -> Reply {
        match (&request.method, request.path.as_str()) {
            (&Method::GET, "/") => Reply::new("text/html; charset=utf-8", &include_bytes!("page/index.html")[..]),
            (&Method::GET, "/view.css") => Reply::new("text/css; charset=utf-8", &include_bytes!("page/view.css")[..]),
            (&Method::GET, "/view.js") => {
                Reply::new("text/javascript; charset=utf-8", &include_bytes!("page/view.js")[..])
            }
            (&Method::GET, "/next") => self.next(&request.query).await,
            (&Method::POST, "/prompts") => self.change_prompts(&request.body).await,
            (&Method::POST, "/pause") => self.pause(&request.body),
            (&Method::POST, "/step") => {
                self.screen.ask_for_step();
                self.confirm()
            }
            (_, "/prompts" | "/pause" | "/step") => Reply::refusal(StatusCode::METHOD_NOT_ALLOWED, "use POST"),
            _ => Reply::refusal(StatusCode::NOT_FOUND, "there is no such page"),
        }
    }
}
