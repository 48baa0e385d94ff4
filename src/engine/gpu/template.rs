//! Unrolling of shader text. WGSL has no macros, and drivers differ in the loops that they unroll, so the loops that
//! decide a product's speed are written out before a shader is compiled.
//!
//! `//# repeat i N` ... `//# end` repeats lines with `{i}` replaced by 0 to N - 1; `//# if FLAG` ... `//# end` keeps
//! lines where FLAG is true. N is a number or the name of one. Both can be nested.

/// A value that a directive names.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<u32>;

/// Expands the directives. One that is not understood stays in the text as a line that no compiler accepts, so that a
/// mistake in a shader is an error and not a missing loop.
pub(super) fn expand(text: &str, lookup: Lookup) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut expanded = String::with_capacity(4 * text.len());
    block(&lines, &mut Vec::new(), lookup, &mut expanded);
    expanded
}

enum Directive<'a> {
    Repeat { name: &'a str, count: u32 },
    If(bool),
}

fn directive<'a>(line: &'a str, lookup: Lookup) -> Option<Directive<'a>> {
    let number = |word: &str| word.parse().ok().or_else(|| lookup(word));
    let words: Vec<&str> = line.trim().strip_prefix("//#")?.split_whitespace().collect();
    match words[..] {
        ["repeat", name, count] => Some(Directive::Repeat { name, count: number(count)? }),
        ["if", flag] => Some(Directive::If(number(flag)? != 0)),
        _ => None,
    }
}

fn is_end(line: &str) -> bool {
    line.trim() == "//# end"
}

/// The number of lines of a directive's body, without its end.
fn body_length(lines: &[&str]) -> usize {
    let mut depth = 0;
    for (index, line) in lines.iter().enumerate() {
        if is_end(line) {
            if depth == 0 {
                return index;
            }
            depth -= 1;
        } else if line.trim().starts_with("//#") {
            depth += 1;
        }
    }
    lines.len()
}

fn block<'a>(lines: &[&'a str], indices: &mut Vec<(&'a str, u32)>, lookup: Lookup, into: &mut String) {
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        at += 1;
        if !line.trim().starts_with("//#") {
            let mut line = (*line).to_string();
            for (name, index) in indices.iter() {
                line = line.replace(&format!("{{{name}}}"), &index.to_string());
            }
            into.push_str(&line);
            into.push('\n');
            continue;
        }
        let Some(directive) = directive(line, lookup) else {
            into.push_str(&format!("not a directive: {line}\n"));
            continue;
        };
        let length = body_length(&lines[at..]);
        let body = &lines[at..at + length];
        at += length + 1;
        match directive {
            Directive::If(false) => {}
            Directive::If(true) => block(body, indices, lookup, into),
            Directive::Repeat { name, count } => {
                for index in 0..count {
                    indices.push((name, index));
                    block(body, indices, lookup, into);
                    indices.pop();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> String {
        expand(text, &|name| match name {
            "TWO" | "YES" => Some(2),
            "NO" => Some(0),
            _ => None,
        })
    }

    #[test]
    fn loops_are_written_out() {
        let text = "a\n  //# repeat i TWO\nb_{i}\n  //# repeat j 3\nc_{i}_{j}\n  //# end\nd{ i }\n  //# end\ne";
        let expected = "a\nb_0\nc_0_0\nc_0_1\nc_0_2\nd{ i }\nb_1\nc_1_0\nc_1_1\nc_1_2\nd{ i }\ne\n";
        assert_eq!(of(text), expected);
    }

    #[test]
    fn flags_keep_or_drop_lines() {
        let text = "//# if NO\n//# repeat i 2\na\n//# end\n//# end\n//# if YES\nb\n//# end";
        assert_eq!(of(text), "b\n");
    }

    #[test]
    fn what_is_not_understood_stays_visible() {
        for text in ["//# repeat i MANY\na\n//# end", "//# unroll\na", "//# end"] {
            assert!(of(text).contains("not a directive"), "{}", of(text));
        }
    }
}
