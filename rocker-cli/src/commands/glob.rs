//! Patterns of names, as Go's path.Match has them.

/// Whether a pattern is that of a text: `*` and `?` stand for anything but a slash, `[a-c]` for one of these, and `[^a-c]` for
/// another one. A pattern that makes no sense is that of nothing.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    // Where the last star was, and what it stands for so far: that may grow, which those before it need not.
    let (mut at, mut position) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if pattern.get(at) == Some(&'*') {
            at += 1;
            star = Some((at, position));
            continue;
        }
        if at == pattern.len() && position == text.len() {
            return true;
        }
        let step = text.get(position).and_then(|c| one(&pattern[at..], *c));
        if let Some(length) = step {
            (at, position) = (at + length, position + 1);
            continue;
        }
        match star {
            Some((behind, from)) if text.get(from).is_some_and(|c| *c != '/') => {
                star = Some((behind, from + 1));
                (at, position) = (behind, from + 1);
            }
            _ => return false,
        }
    }
}

/// How much of a pattern stands for a character, if it does.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern {
        ['?', ..] => (c != '/').then_some(1),
        ['\\', literal, ..] => (*literal == c).then_some(2),
        ['[', rest @ ..] => {
            let end = rest.iter().position(|c| *c == ']').filter(|end| *end > 0)?;
            let (class, is_not) = match &rest[..end] {
                ['^', class @ ..] => (class, true),
                class => (class, false),
            };
            let mut found = false;
            let mut class = class;
            while let [first, more @ ..] = class {
                class = match more {
                    ['-', last, more @ ..] => {
                        found |= (*first..=*last).contains(&c);
                        more
                    }
                    more => {
                        found |= *first == c;
                        more
                    }
                };
            }
            (found != is_not && c != '/').then_some(end + 2)
        }
        [literal, ..] => (*literal == c).then_some(1),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_are_gos() {
        for (pattern, text) in [
            ("busy*", "busybox"),
            ("*box", "busybox"),
            ("*", "busybox:latest"),
            ("b?sy*:[0-9]*", "busybox:1.36"),
            ("*/app:*", "team/app:1"),
            ("a*b*c", "aXbYbZc"),
            ("[^x]b", "ab"),
            ("a\\*", "a*"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("*", "team/app"),
            ("busybox", "busybox:latest"),
            ("?", ""),
            ("[", "["),
            ("[]", "]"),
            ("a*b", "a/b"),
            ("", "x"),
        ] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_is_of_its_own_pattern_and_no_pattern_is_too_strange(text in "[a-z/:.]{0,20}", strange in r"[a*?\[\]^\\/-]{0,20}") {
            prop_assert!(fits(&text, &text));
            let _ = fits(&strange, &text);
        }
    }
}
