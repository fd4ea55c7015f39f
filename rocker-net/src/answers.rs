//! What the kernel answers to a datagram of requests.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR};
use nix::errno::Errno;

use crate::netlink::{HEADER, Refusal, Reply, Request};
use crate::nla;

/// `NLMSG_ERROR`: an errno, or 0 for an acknowledgement.
const NLMSG_ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
const NLMSG_DONE: u16 = 3;
/// `NLMSGERR_ATTR_MSG`: the kernel's words on an error.
const NLMSGERR_ATTR_MSG: u16 = 1;

/// The answers to a datagram of requests while they come in.
pub(crate) struct Answers {
    first: u32,
    replies: Vec<Reply>,
    /// Which requests have yet to be answered.
    pending: Vec<bool>,
    /// Which of them are answered by the one thing that they ask for, with no acknowledgement behind it.
    single: Vec<bool>,
}

/// The flags that `requests` are sent with: of those that go out in one datagram, only the last that is answered need be acknowledged.
///
/// The kernel goes through a datagram in order, and says what it refuses whether it was asked to or not. So the answer to
/// the last one tells that all before it are done, but for those that errors came of; and each acknowledgement would be a datagram of its own.
pub(crate) fn flags(requests: &[Request]) -> Vec<u16> {
    let last = requests
        .iter()
        .rposition(|request| is_answered(request.kind, request.flags));
    // A dump goes on while later requests are dealt with already.
    let dumps = requests
        .iter()
        .any(|request| request.flags & NLM_F_DUMP == NLM_F_DUMP && is_get(request.kind));
    let sent = requests.iter().enumerate();
    sent.map(|(number, request)| match dumps || Some(number) == last {
        true => request.flags,
        false => request.flags & !NLM_F_ACK,
    })
    .collect()
}

/// Whether a message asks for something, by its name: in others the bits of NLM_F_DUMP mean something else.
fn is_get(kind: (u16, &str)) -> bool {
    kind.1.contains("_GET")
}

fn is_answered(kind: (u16, &str), flags: u16) -> bool {
    flags & NLM_F_ACK != 0 || is_get(kind)
}

impl Answers {
    /// For requests that are sent with these [`flags`].
    pub(crate) fn new(first: u32, requests: &[Request], flags: &[u16]) -> Self {
        let replies = requests
            .iter()
            .map(|_| Reply {
                outcome: Ok(()),
                messages: Vec::new(),
            })
            .collect();
        let each = || requests.iter().zip(flags.iter().copied());
        let single = |(request, flags): (&Request, u16)| {
            is_get(request.kind) && flags & (NLM_F_ACK | NLM_F_DUMP) == 0
        };
        Self {
            first,
            replies,
            pending: each()
                .map(|(request, flags)| is_answered(request.kind, flags))
                .collect(),
            single: each().map(single).collect(),
        }
    }

    pub(crate) fn awaited(&self) -> bool {
        self.pending.contains(&true)
    }

    pub(crate) fn refused(&self) -> bool {
        self.replies.iter().any(|reply| reply.outcome.is_err())
    }

    pub(crate) fn into_replies(self) -> Vec<Reply> {
        self.replies
    }

    /// Takes in one datagram.
    pub(crate) fn take(&mut self, datagram: &[u8]) {
        each(datagram, |header, body| {
            self.take_message(header.kind, header.flags, header.sequence, body);
        });
    }

    fn take_message(&mut self, kind: u16, flags: u16, sequence: u32, body: &[u8]) {
        let index = sequence.wrapping_sub(self.first) as usize;
        let Some(reply) = self.replies.get_mut(index) else {
            return;
        };
        if flags & NLM_F_DUMP_INTR != 0 && kind != NLMSG_ERROR {
            reply.outcome = Err(Refusal {
                source: io::Error::from_raw_os_error(libc::EINTR),
                detail: None,
            });
        }
        match kind {
            NLMSG_ERROR => {
                if let Some(refusal) = refusal(flags, body) {
                    reply.outcome = Err(refusal);
                }
                self.pending[index] = false;
            }
            NLMSG_DONE => {
                if let Some(refusal) = refusal(0, body) {
                    reply.outcome = Err(refusal);
                }
                self.pending[index] = false;
            }
            _ => {
                reply.messages.push(body.to_vec());
                if self.single[index] {
                    self.pending[index] = false;
                }
            }
        }
    }
}

/// What an NLMSG_ERROR or NLMSG_DONE with this body refuses, if it does.
fn refusal(flags: u16, body: &[u8]) -> Option<Refusal> {
    let errno = body
        .first_chunk::<4>()
        .map_or(0, |errno| i32::from_ne_bytes(*errno));
    if errno >= 0 {
        return None;
    }
    let mut detail = None;
    if flags & NLM_F_ACK_TLVS != 0 {
        // Behind the errno stands the request's header, and without NLM_F_CAPPED all the rest of the request too.
        let echoed = body
            .get(4..8)
            .and_then(nla::read_u32)
            .map_or(HEADER, |len| len as usize);
        let skip = 4 + if flags & NLM_F_CAPPED != 0 {
            HEADER
        } else {
            nla::align(echoed)
        };
        detail =
            nla::find(body.get(skip..).unwrap_or_default(), NLMSGERR_ATTR_MSG).map(nla::read_str);
    }
    Some(Refusal {
        source: io::Error::from_raw_os_error(-errno),
        detail,
    })
}

/// What a datagram says, for the trace: how many messages, and which of the requests succeeded or failed.
pub(crate) fn summary(datagram: &[u8]) -> String {
    let mut said = Vec::new();
    let mut messages = 0;
    each(datagram, |header, body| {
        let name = match header.kind {
            NLMSG_ERROR => "NLMSG_ERROR",
            NLMSG_DONE => "NLMSG_DONE",
            _ => {
                messages += 1;
                return;
            }
        };
        let error = match body
            .first_chunk()
            .map_or(0, |errno| i32::from_ne_bytes(*errno))
        {
            0 => "0".to_owned(),
            error => format!("-{:?}", Errno::from_raw(error.saturating_neg())),
        };
        said.push(format!("{{{name}, error={error}}}"));
    });
    if messages > 0 {
        said.insert(0, format!("{messages} messages"));
    }
    said.join(", ")
}

/// What of a message's header matters.
struct Header {
    kind: u16,
    flags: u16,
    sequence: u32,
}

/// Goes through the messages of a datagram.
fn each(mut datagram: &[u8], mut with: impl FnMut(Header, &[u8])) {
    while let Some((header, _)) = datagram.split_first_chunk::<HEADER>() {
        let word = |at: usize| {
            u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let len = word(0) as usize;
        let Some(body) = datagram.get(HEADER..len) else {
            return;
        };
        let header = Header {
            kind: half(4),
            flags: half(6),
            sequence: word(8),
        };
        with(header, body);
        datagram = datagram.get(nla::align(len)..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(flags: u16) -> Request {
        Request {
            kind: (16, "RTM_NEWLINK"),
            flags,
            body: vec![0; 16],
            operation: "create",
            object: "x".into(),
            module: Some("veth"),
        }
    }

    fn error_message(sequence: u32, errno: i32, text: Option<&str>) -> Vec<u8> {
        let mut body = (-errno).to_ne_bytes().to_vec();
        body.extend_from_slice(&[0; HEADER]);
        if let Some(text) = text {
            nla::put_str(&mut body, NLMSGERR_ATTR_MSG, text);
        }
        let flags = NLM_F_CAPPED | if text.is_some() { NLM_F_ACK_TLVS } else { 0 };
        let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend_from_slice(&NLMSG_ERROR.to_ne_bytes());
        message.extend_from_slice(&flags.to_ne_bytes());
        message.extend_from_slice(&sequence.to_ne_bytes());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(&body);
        message
    }

    #[test]
    fn each_answer_goes_to_its_request_with_the_words_of_the_kernel() {
        let requests = [request(NLM_F_ACK), request(NLM_F_ACK)];
        let mut answers = Answers::new(u32::MAX, &requests, &[NLM_F_ACK; 2]);
        answers.take(&error_message(0, libc::EEXIST, Some("already there")));
        assert!(answers.awaited());
        answers.take(&error_message(u32::MAX, 0, None));
        assert!(!answers.awaited());
        let [done, refused] = <[Reply; 2]>::try_from(answers.into_replies()).unwrap();
        assert!(done.outcome.is_ok());
        let error = refused.outcome.unwrap_err().of(&requests[1]);
        let both = [
            error_message(1, libc::EEXIST, None),
            error_message(2, 0, None),
        ]
        .concat();
        assert_eq!(
            summary(&both),
            "{NLMSG_ERROR, error=-EEXIST}, {NLMSG_ERROR, error=0}"
        );
        assert_eq!(
            error.to_string(),
            "create x (the kernel says: already there)"
        );
    }

    #[test]
    fn the_last_answer_of_a_datagram_stands_for_all_and_an_error_before_it_is_seen() {
        let requests = [request(NLM_F_ACK), request(0), request(NLM_F_ACK)];
        let sent = flags(&requests);
        assert_eq!(sent, [0, 0, NLM_F_ACK]);
        let mut answers = Answers::new(7, &requests, &sent);
        answers.take(&error_message(7, libc::EEXIST, None));
        assert!(answers.awaited());
        answers.take(&error_message(9, 0, None));
        assert!(!answers.awaited());
        let outcomes = answers.into_replies().into_iter();
        let done: Vec<_> = outcomes.map(|reply| reply.outcome.is_ok()).collect();
        assert_eq!(done, [false, true, true]);
    }

    #[test]
    fn what_is_asked_for_is_answered_without_acknowledgement_and_a_dump_answers_for_nobody_else() {
        let get = |flags| Request {
            kind: (18, "RTM_GETLINK"),
            ..request(flags)
        };
        assert_eq!(flags(&[request(NLM_F_ACK), get(0)]), [0, 0]);
        let with_dump = [request(NLM_F_ACK), get(NLM_F_DUMP)];
        assert_eq!(flags(&with_dump), [NLM_F_ACK, NLM_F_DUMP]);
    }

    proptest! {
        #[test]
        fn rubbish_from_the_kernel_is_no_panic(bytes: Vec<u8>) {
            let requests = [request(NLM_F_ACK)];
            Answers::new(0, &requests, &[NLM_F_ACK]).take(&bytes);
            summary(&bytes);
        }
    }
}
