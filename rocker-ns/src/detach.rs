//! The keys by which a person leaves a program to itself.

use std::str::FromStr;

use crate::Error;

/// A sequence of keys that ends the relay between a terminal and a program, and not the program, as
/// [`Relay::run_until_detached`](crate::Relay::run_until_detached) takes it.
///
/// It is written as in Docker: keys with commas between them, each a character, or `ctrl-` and one of `a` to `z`, `@`,
/// `[`, `\`, `]`, `^`, `_`. The default is `ctrl-p,ctrl-q`.
///
/// ```
/// use rocker_ns::DetachKeys;
///
/// let keys: DetachKeys = "ctrl-a,d".parse()?;
/// assert_ne!(keys, DetachKeys::default());
/// assert!("ctrl-1".parse::<DetachKeys>().is_err());
/// # Ok::<(), rocker_ns::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys {
    keys: Vec<u8>,
    /// How many of them were typed last.
    typed: usize,
}

impl Default for DetachKeys {
    fn default() -> Self {
        Self {
            keys: vec![control(b'p'), control(b'q')],
            typed: 0,
        }
    }
}

/// What a terminal sends for a key that is typed together with Ctrl.
const fn control(key: u8) -> u8 {
    key & 0x1f
}

impl FromStr for DetachKeys {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let key = |name: &str| match (name.strip_prefix("ctrl-"), name.as_bytes()) {
            (Some(rest), _) => match rest.as_bytes() {
                [key @ (b'a'..=b'z' | b'@' | b'['..=b'_')] => Some(control(*key)),
                _ => None,
            },
            (None, [key]) if key.is_ascii_graphic() || *key == b' ' => Some(*key),
            _ => None,
        };
        let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
        let keys = keys.ok_or_else(|| Error::BadKeys {
            keys: text.to_owned(),
        })?;
        Ok(Self { keys, typed: 0 })
    }
}

impl DetachKeys {
    /// Takes out of `input` what may be the beginning of the sequence, and puts back what turned out to be none. True
    /// when the sequence is complete; what was typed behind it is dropped.
    pub(crate) fn filter(&mut self, input: &mut Vec<u8>) -> bool {
        let mut passed = Vec::with_capacity(input.len());
        for byte in std::mem::take(input) {
            // The sequence may begin anew inside of what looked like one.
            while self.typed > 0 && self.keys[self.typed] != byte {
                passed.push(self.keys[0]);
                self.typed = (0..self.typed)
                    .rev()
                    .find(|rest| self.keys[..*rest] == self.keys[self.typed - rest..self.typed])
                    .inspect(|rest| passed.extend(&self.keys[1..self.typed - rest]))
                    .unwrap_or(0);
            }
            if self.keys[self.typed] == byte {
                self.typed += 1;
            } else {
                passed.push(byte);
            }
            if self.typed == self.keys.len() {
                self.typed = 0;
                *input = passed;
                return true;
            }
        }
        *input = passed;
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What reaches the program of the parts that are typed one after the other, and whether it was left.
    fn typed(keys: &str, parts: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut keys: DetachKeys = keys.parse().unwrap();
        let mut passed = Vec::new();
        for part in parts {
            let mut input = part.to_vec();
            let left = keys.filter(&mut input);
            passed.extend(input);
            if left {
                return (passed, true);
            }
        }
        (passed, false)
    }

    #[test]
    fn the_sequence_is_noticed_however_it_is_cut() {
        let whole: &[&[u8]] = &[b"ls\r\x10\x11rest"];
        assert_eq!(typed("ctrl-p,ctrl-q", whole), (b"ls\r".to_vec(), true));
        assert_eq!(
            typed("ctrl-p,ctrl-q", &[b"ls\r\x10", b"\x11"]),
            (b"ls\r".to_vec(), true)
        );
    }

    #[test]
    fn what_only_begins_like_it_reaches_the_program_in_order() {
        assert_eq!(
            typed("ctrl-p,ctrl-q", &[b"\x10", b"\x10\x10a"]),
            (b"\x10\x10\x10a".to_vec(), false)
        );
        assert_eq!(typed("a,b,a,c", &[b"ababac"]), (b"ab".to_vec(), true));
        assert_eq!(typed("a,a,b", &[b"aaaab"]), (b"aa".to_vec(), true));
    }

    #[test]
    fn keys_are_written_as_in_docker() {
        assert_eq!(
            "ctrl-p,ctrl-q".parse::<DetachKeys>().unwrap(),
            DetachKeys::default()
        );
        assert_eq!(
            "ctrl-@,ctrl-],x".parse::<DetachKeys>().unwrap().keys,
            [0, 0x1d, b'x']
        );
        for wrong in ["", "ctrl-", "ctrl-1", "ab", "a,,b", "ctrl-P", "é"] {
            assert!(wrong.parse::<DetachKeys>().is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_made_up(keys in "[ab](,[ab]){0,3}", input in "[ab]{0,12}", cut in 0_usize..12) {
            let cut = cut.min(input.len());
            let (head, tail) = input.as_bytes().split_at(cut);
            let sequence: Vec<u8> = keys.split(',').flat_map(str::bytes).collect();
            let (passed, left) = typed(&keys, &[head, tail]);
            let found = input.as_bytes().windows(sequence.len()).position(|part| part == sequence);
            prop_assert_eq!(left, found.is_some());
            let until = found.unwrap_or(input.len());
            prop_assert!(input.as_bytes()[..until].starts_with(&passed));
            // What is held back could still become the sequence.
            let held = &input.as_bytes()[passed.len()..until];
            prop_assert!(left && held.is_empty() || !left && sequence.starts_with(held));
        }
    }
}
