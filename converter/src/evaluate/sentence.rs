//! Converts data sets' sentences to prompts of the runtime, which refuses empty and overlong ones.

use crate::data::Sample;
use causalclipseg::prompt::{MAX_PROMPT_BYTES, PromptError};
use causalclipseg::{Model, ModelError, Prompt};

/// The prompt that a sample is evaluated with: its first non-empty one. The others describe the same mask.
pub fn own_sentence(sample: &Sample) -> &str {
    let says_something = |prompt: &&String| !prompt.trim().is_empty();
    sample.prompts.iter().find(says_something).map_or("", |prompt| prompt.trim())
}

/// Encodes any text. A text without words becomes the start and the end of text alone, as in training. A text of more tokens than
/// the network reads loses words at its end, as in training.
pub fn encode(model: &Model, text: &str) -> Result<Prompt, ModelError> {
    let mut text = text;
    loop {
        match model.prompt(text) {
            Err(ModelError::Prompt(PromptError::Empty)) => return model.empty_prompt(),
            Err(ModelError::Prompt(PromptError::TooLong { .. } | PromptError::TooLarge { .. })) => {
                let shorter = without_last_word(text);
                if shorter.is_empty() {
                    return model.prompt(text);
                }
                log::info!("a prompt is truncated to the network's context: `{shorter}`");
                text = shorter;
            }
            prompt => return prompt,
        }
    }
}

fn without_last_word(text: &str) -> &str {
    let within = text.len().min(MAX_PROMPT_BYTES + 1);
    let end = (0..=within).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let text = text[..end].trim_end();
    text.rfind(char::is_whitespace).map_or("", |space| text[..space].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_from_the_end() {
        assert_eq!(without_last_word("a dark  mass \n"), "a dark");
        assert_eq!(without_last_word("mass"), "");
        let book = "tumör ".repeat(3000);
        let cut = without_last_word(&book);
        assert!(cut.len() <= MAX_PROMPT_BYTES && cut.len() > MAX_PROMPT_BYTES - 20 && cut.ends_with("tumör"));
    }
}
