//! Escapes text for HTML.

/// Escapes text so that it is not read as markup.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_prompts_stays_text() {
        assert_eq!(escape(r#"<b title="x">&"#), "&lt;b title=&quot;x&quot;&gt;&amp;");
    }
}
