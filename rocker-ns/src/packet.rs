//! What a program's supervisor and its clients say to each other, as packets: the first byte is the kind, the rest belongs to
//! it. Both run on one machine; numbers are little-endian all the same.

use crate::WindowSize;

/// The version of what follows. Another one is refused.
pub(crate) const VERSION: u8 = 1;

/// The most bytes of a stream in a packet.
pub(crate) const PAYLOAD: usize = 4096;

/// The longest packet.
pub(crate) const LONGEST: usize = 1 + PAYLOAD;

const HELLO: u8 = b'H';
const INPUT: u8 = b'i';
const INPUT_END: u8 = b'e';
const RESIZE: u8 = b'r';
const SIGNAL: u8 = b's';

const WELCOME: u8 = b'W';
const REFUSED: u8 = b'R';
const STDOUT: u8 = b'1';
const STDERR: u8 = b'2';
const TAKEN: u8 = b't';
const LEFT_OUT: u8 = b'l';
const EXITED: u8 = b'x';

/// What a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    /// The first packet: which streams it wants.
    Hello {
        version: u8,
        stdin: bool,
        output: bool,
    },
    /// Bytes for the program's standard input. Before the next of them it waits for [`Event::Taken`].
    Input(&'a [u8]),
    /// There is no more input.
    InputEnd,
    /// The size of its terminal.
    Resize(WindowSize),
    /// A signal for the program.
    Signal(i32),
}

impl<'a> Request<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match *self {
            Self::Hello {
                version,
                stdin,
                output,
            } => vec![HELLO, version, u8::from(stdin) | u8::from(output) << 1],
            Self::Input(bytes) => packet(INPUT, bytes),
            Self::InputEnd => vec![INPUT_END],
            Self::Resize(size) => {
                let ([a, b], [c, d]) = (size.rows.to_le_bytes(), size.columns.to_le_bytes());
                vec![RESIZE, a, b, c, d]
            }
            Self::Signal(number) => packet(SIGNAL, &number.to_le_bytes()),
        }
    }

    /// None for what no client says.
    pub(crate) fn decode(packet: &'a [u8]) -> Option<Self> {
        let (kind, rest) = packet.split_first()?;
        Some(match (*kind, rest) {
            // What follows in the first packet of another version is its own affair.
            (HELLO, [version, ..]) if *version != VERSION => Self::Hello {
                version: *version,
                stdin: false,
                output: false,
            },
            (HELLO, &[version, flags @ 0..=3]) => Self::Hello {
                version,
                stdin: flags & 1 != 0,
                output: flags & 2 != 0,
            },
            (INPUT, bytes) if (1..=PAYLOAD).contains(&bytes.len()) => Self::Input(bytes),
            (INPUT_END, []) => Self::InputEnd,
            (RESIZE, &[a, b, c, d]) => Self::Resize(WindowSize {
                rows: u16::from_le_bytes([a, b]),
                columns: u16::from_le_bytes([c, d]),
            }),
            (SIGNAL, number) => {
                let number = i32::from_le_bytes(number.try_into().ok()?);
                let known = (1..=libc::SIGRTMAX()).contains(&number);
                known.then_some(Self::Signal(number))?
            }
            _ => return None,
        })
    }
}

/// What the supervisor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// The answer to the first packet.
    Welcome { version: u8, has_terminal: bool },
    /// The answer to a first packet that is turned away: too many clients, or another version.
    Refused,
    /// What the program has written.
    Stdout(&'a [u8]),
    /// What the program has written to standard error.
    Stderr(&'a [u8]),
    /// The last input is the program's; the next may come.
    Taken,
    /// How many bytes of both streams this client was too slow for.
    LeftOut(u64),
    /// The program has ended.
    Exited(u8),
}

impl<'a> Event<'a> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match *self {
            Self::Welcome {
                version,
                has_terminal,
            } => vec![WELCOME, version, has_terminal.into()],
            Self::Refused => vec![REFUSED],
            Self::Stdout(bytes) => packet(STDOUT, bytes),
            Self::Stderr(bytes) => packet(STDERR, bytes),
            Self::Taken => vec![TAKEN],
            Self::LeftOut(count) => packet(LEFT_OUT, &count.to_le_bytes()),
            Self::Exited(code) => vec![EXITED, code],
        }
    }

    /// None for what no supervisor says.
    pub(crate) fn decode(packet: &'a [u8]) -> Option<Self> {
        let (kind, rest) = packet.split_first()?;
        Some(match (*kind, rest) {
            (WELCOME, &[version, has_terminal @ 0..=1]) => Self::Welcome {
                version,
                has_terminal: has_terminal == 1,
            },
            (REFUSED, []) => Self::Refused,
            (STDOUT, bytes) if (1..=PAYLOAD).contains(&bytes.len()) => Self::Stdout(bytes),
            (STDERR, bytes) if (1..=PAYLOAD).contains(&bytes.len()) => Self::Stderr(bytes),
            (TAKEN, []) => Self::Taken,
            (LEFT_OUT, count) => Self::LeftOut(u64::from_le_bytes(count.try_into().ok()?)),
            (EXITED, &[code]) => Self::Exited(code),
            _ => return None,
        })
    }
}

fn packet(kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(1 + rest.len());
    packet.push(kind);
    packet.extend_from_slice(rest);
    packet
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_nobody_says_is_no_packet() {
        let long = [INPUT; LONGEST + 1];
        let wrong: [&[u8]; 12] = [
            b"",
            b"?",
            b"H",
            &[HELLO, VERSION],
            &[HELLO, VERSION, 4],
            &[HELLO, VERSION, 0, 0],
            b"i",
            &long,
            b"e1",
            b"r123",
            b"s123",
            &[SIGNAL, 0, 0, 0, 0],
        ];
        for packet in wrong {
            assert_eq!(Request::decode(packet), None, "{packet:?}");
        }
        for packet in [&b""[..], b"?", b"W12", b"1", b"l1234567", b"x", b"x12"] {
            assert_eq!(Event::decode(packet), None, "{packet:?}");
        }
    }

    #[test]
    fn the_version_is_read_from_the_first_packet_of_any_version() {
        let Some(Request::Hello { version, .. }) = Request::decode(&[HELLO, 9, 1, 2, 3]) else {
            panic!("no hello")
        };
        assert_eq!(version, 9);
    }

    fn requests(bytes: &[u8], number: u16, flag: bool) -> [Request<'_>; 5] {
        [
            Request::Hello {
                version: VERSION,
                stdin: flag,
                output: !flag,
            },
            Request::Input(bytes),
            Request::InputEnd,
            Request::Resize(WindowSize {
                rows: number,
                columns: !number,
            }),
            Request::Signal(i32::from(number % 64) + 1),
        ]
    }

    fn events(bytes: &[u8], number: u64, flag: bool) -> [Event<'_>; 7] {
        [
            Event::Welcome {
                version: VERSION,
                has_terminal: flag,
            },
            Event::Refused,
            Event::Stdout(bytes),
            Event::Stderr(bytes),
            Event::Taken,
            Event::LeftOut(number),
            Event::Exited(number as u8),
        ]
    }

    proptest! {
        #[test]
        fn what_is_said_is_understood(
            bytes in proptest::collection::vec(any::<u8>(), 1..=PAYLOAD), number: u64, flag: bool,
        ) {
            for request in requests(&bytes, number as u16, flag) {
                let packet = request.encode();
                prop_assert!(packet.len() <= LONGEST);
                prop_assert_eq!(Request::decode(&packet), Some(request));
            }
            for event in events(&bytes, number, flag) {
                let packet = event.encode();
                prop_assert!(packet.len() <= LONGEST);
                prop_assert_eq!(Event::decode(&packet), Some(event));
            }
        }

        #[test]
        fn anything_at_all_is_understood_as_it_was_meant_or_not_at_all(
            packet in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            if let Some(request) = Request::decode(&packet).filter(|r| !matches!(r, Request::Hello { version, .. } if *version != VERSION)) {
                prop_assert_eq!(request.encode(), packet.clone());
            }
            if let Some(event) = Event::decode(&packet) {
                prop_assert_eq!(event.encode(), packet);
            }
        }
    }
}
