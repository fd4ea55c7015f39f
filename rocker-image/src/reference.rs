//! [`Reference`]: the name of an image in a registry.

use std::fmt;
use std::str::FromStr;

use crate::{Digest, Error, Result};

const DEFAULT_DOMAIN: &str = "docker.io";
const OLD_DEFAULT_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const DEFAULT_TAG: &str = "latest";

/// The longest repository that registries accept. No domain is longer.
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// The name of an image: a registry's domain, a repository, and a tag or digest.
///
/// Parsing understands what Docker's command line does and completes it: `busybox` is
/// `docker.io/library/busybox:latest`. [`Display`](fmt::Display) shows the complete form and
/// [`familiar`](Self::familiar) the short one. A reference with a digest names one image for ever; its tag, if it has
/// one, says nothing then.
///
/// The grammar is that of [distribution/reference](https://github.com/distribution/reference).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry's host, and its port where one was given: `docker.io`, `localhost:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository in the registry: `library/busybox`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag. `None` only where there is a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest or index.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The form that people write: `busybox:latest`, `ghcr.io/owner/image:1`.
    pub fn familiar(&self) -> String {
        let short = match self.repository.strip_prefix(OFFICIAL) {
            Some(official) if !official.contains('/') => official,
            _ => &self.repository,
        };
        // A repository may begin with what would be taken for another registry.
        let stays = split_domain(short) == (DEFAULT_DOMAIN, short);
        let name = match self.domain.as_str() {
            DEFAULT_DOMAIN if stays => short.to_owned(),
            domain => format!("{domain}/{}", self.repository),
        };
        name + &self.suffix()
    }

    /// The same repository with `digest` in place of tag and digest.
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// What names the image in the store: a tag beside a digest says nothing.
    pub(crate) fn key(&self) -> Self {
        match &self.digest {
            Some(digest) => self.with_digest(digest.clone()),
            None => self.clone(),
        }
    }

    /// The last part of a manifest's URL: digest or tag.
    pub(crate) fn manifest(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }

    fn suffix(&self) -> String {
        let tag = self.tag.iter().map(|tag| format!(":{tag}"));
        tag.chain(self.digest.iter().map(|digest| format!("@{digest}")))
            .collect()
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(input: &str) -> Result<Self> {
        let invalid = |reason| Error::InvalidReference {
            input: input.into(),
            reason,
        };
        if input.is_empty() {
            return Err(invalid("it is empty"));
        }
        if is_identifier(input) {
            return Err(invalid("64 hexadecimal digits are an image ID, not a name"));
        }
        let (rest, digest) =
            match input.split_once('@') {
                Some((rest, digest)) => (
                    rest,
                    Some(digest.parse().map_err(|_| {
                        invalid("behind the '@' stands no sha256 or sha512 digest")
                    })?),
                ),
                None => (input, None),
            };
        // A colon before the last slash belongs to the domain's port.
        let (name, tag) = match rest.rfind(':') {
            Some(colon) if !rest[colon..].contains('/') => {
                (&rest[..colon], Some(&rest[colon + 1..]))
            }
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(invalid(
                "the tag is not 1 to 128 letters, digits, '_', '.' and '-', or begins with one of the last two",
            ));
        }
        let (domain, repository) = split_domain(name);
        if !is_domain(domain) {
            return Err(invalid(
                "the registry is not a host name or address with an optional port",
            ));
        }
        if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(invalid("the repository must be lower-case"));
        }
        let repository = match domain {
            DEFAULT_DOMAIN if !repository.contains('/') => format!("{OFFICIAL}{repository}"),
            _ => repository.to_owned(),
        };
        if !repository.split('/').all(is_path_component) {
            return Err(invalid(
                "the repository is not lower-case words joined by '/', '.', '_', '__' or '-'",
            ));
        }
        if domain.len().max(repository.len()) > NAME_MAX {
            return Err(invalid(
                "the registry or the repository is longer than 255 characters",
            ));
        }
        let tag = match (tag, &digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self {
            domain: domain.to_owned(),
            repository,
            tag,
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.repository, self.suffix())
    }
}

/// The first part of a name is a domain if it cannot be part of a repository on Docker Hub.
fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((OLD_DEFAULT_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    }
}

fn is_identifier(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => {
                // One that ends in an IPv4 address is none to Docker.
                if address.contains('.') || address.parse::<std::net::Ipv6Addr>().is_err() {
                    return false;
                }
                (
                    "",
                    port.strip_prefix(':').or((!port.is_empty()).then_some("")),
                )
            }
            None => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label = |label: &str| {
        label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !(label.is_empty() || label.starts_with('-') || label.ends_with('-'))
    };
    let digits = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    (text.starts_with('[') || host.split('.').all(label)) && port.is_none_or(digits)
}

/// Runs of lower-case letters and digits, joined by `.`, `_`, `__` or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let mut rest = text.trim_start_matches(is_word);
    if rest.len() == text.len() {
        return false;
    }
    while !rest.is_empty() {
        let word = rest.trim_start_matches(|c| !is_word(c));
        let separator = &rest[..rest.len() - word.len()];
        let known =
            matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-');
        if !known || word.is_empty() {
            return false;
        }
        rest = word.trim_start_matches(is_word);
    }
    true
}

fn is_word(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= TAG_MAX
        && text.bytes().next().is_some_and(word)
        && text
            .bytes()
            .all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[track_caller]
    fn check(input: &str, canonical: &str, familiar: &str) {
        let reference: Reference = input.parse().unwrap();
        assert_eq!(reference.to_string(), canonical);
        assert_eq!(reference.familiar(), familiar);
        assert_eq!(canonical.parse::<Reference>().unwrap(), reference);
        assert_eq!(familiar.parse::<Reference>().unwrap(), reference);
    }

    #[test]
    fn a_short_name_is_completed_and_shown_short_again() {
        check(
            "busybox",
            "docker.io/library/busybox:latest",
            "busybox:latest",
        );
        check(
            "busybox:1.36",
            "docker.io/library/busybox:1.36",
            "busybox:1.36",
        );
        check(
            "library/busybox",
            "docker.io/library/busybox:latest",
            "busybox:latest",
        );
        check(
            "docker.io/busybox",
            "docker.io/library/busybox:latest",
            "busybox:latest",
        );
        check(
            "index.docker.io/busybox",
            "docker.io/library/busybox:latest",
            "busybox:latest",
        );
        check(
            "owner/image",
            "docker.io/owner/image:latest",
            "owner/image:latest",
        );
        check(
            "library/a/b",
            "docker.io/library/a/b:latest",
            "library/a/b:latest",
        );
    }

    #[test]
    fn a_first_part_that_looks_like_a_host_is_the_registry() {
        check("localhost/a", "localhost/a:latest", "localhost/a:latest");
        check(
            "localhost:5000/a/b:t",
            "localhost:5000/a/b:t",
            "localhost:5000/a/b:t",
        );
        check(
            "127.0.0.1:5000/a",
            "127.0.0.1:5000/a:latest",
            "127.0.0.1:5000/a:latest",
        );
        check("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest");
        check("Host/a", "Host/a:latest", "Host/a:latest");
        check("ghcr.io/o/i:1", "ghcr.io/o/i:1", "ghcr.io/o/i:1");
        check("local/a", "docker.io/local/a:latest", "local/a:latest");
    }

    #[test]
    fn a_digest_needs_no_tag_and_silences_the_one_beside_it() {
        check(
            &format!("a@sha256:{HEX}"),
            &format!("docker.io/library/a@sha256:{HEX}"),
            &format!("a@sha256:{HEX}"),
        );
        let both: Reference = format!("a:1@sha256:{HEX}").parse().unwrap();
        assert_eq!((both.tag(), both.digest().unwrap().hex()), (Some("1"), HEX));
        assert_eq!(both.key().tag(), None);
        assert_eq!(both.manifest(), format!("sha256:{HEX}"));
    }

    #[test]
    fn what_the_grammar_excludes_is_refused() {
        for wrong in [
            "",
            ":",
            "@",
            "/",
            "a:",
            ":a",
            "a@",
            "a/",
            "/a",
            "a//b",
            "A",
            "a/B",
            "host.io/A",
            "a b",
            "a:-t",
            "a:t/b:",
            "a:.t",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a._b",
            "_a",
            ".a",
            "-h.io/a",
            "h-.io/a",
            "h..io/a",
            "host:port/a",
            "h.io:/a",
            "h.io:0/a",
            "h.io:65536/a",
            "[::1/a",
            "[xx]/a",
            "[::1]5/a",
            "a@sha256:abc",
            "a@md5:abc",
            "a@b@c",
            "https://h.io/a",
            "é",
            "h.io/",
            "a:t:u",
            "../a",
            "h.io/../a",
            "a\n",
            "\x1b",
            HEX,
        ] {
            assert!(
                wrong.parse::<Reference>().is_err(),
                "{wrong:?} gave {:?}",
                wrong.parse::<Reference>()
            );
        }
        assert!(
            format!("a:{}", "t".repeat(129))
                .parse::<Reference>()
                .is_err()
        );
    }

    #[test]
    fn what_is_short_for_something_else_is_not_shown_short() {
        for input in [
            "ghcr.io/a",
            "localhost/a",
            "index.docker.io/a",
            "docker.io/a",
        ] {
            let canonical = format!("docker.io/{input}:latest");
            check(&format!("docker.io/{input}"), &canonical, &canonical);
        }
        check(
            "docker.io/localhost",
            "docker.io/library/localhost:latest",
            "localhost:latest",
        );
    }

    /// Each edge of the grammar, from both sides: what is the domain, the repository and the tag, or nothing.
    #[test]
    #[rustfmt::skip] // A table.
    fn every_edge_of_the_grammar_is_where_docker_has_it() {
        let digest = format!("@sha256:{HEX}");
        let sha512 = format!("@sha512:{HEX}{HEX}");
        let long = |length: usize| "a".repeat(length);
        let hub = "docker.io";
        let good: &[(&str, &str, &str, Option<&str>)] = &[
            // Which part is the domain.
            ("a", hub, "library/a", Some("latest")),
            ("a.b", hub, "library/a.b", Some("latest")),
            ("a.b:80", hub, "library/a.b", Some("80")),
            ("localhost", hub, "library/localhost", Some("latest")),
            ("localhost:5000", hub, "library/localhost", Some("5000")),
            ("docker.io", hub, "library/docker.io", Some("latest")),
            ("docker.io/library", hub, "library/library", Some("latest")),
            ("docker.io/library/a", hub, "library/a", Some("latest")),
            ("index.docker.io/a/b", hub, "a/b", Some("latest")),
            ("index.docker.io:443/a", "index.docker.io:443", "a", Some("latest")),
            ("registry-1.docker.io/a", "registry-1.docker.io", "a", Some("latest")),
            ("a.b/c", "a.b", "c", Some("latest")),
            ("a:1/c", "a:1", "c", Some("latest")),
            ("A/c", "A", "c", Some("latest")),
            ("LOCALHOST/c", "LOCALHOST", "c", Some("latest")),
            ("a-b/c", hub, "a-b/c", Some("latest")),
            ("do__cker/docker", hub, "do__cker/docker", Some("latest")),
            ("b.gcr.io/test.example.com/my-app", "b.gcr.io", "test.example.com/my-app", Some("latest")),
            // Domains.
            ("0101.com/a", "0101.com", "a", Some("latest")),
            ("xn--n3h.com/a", "xn--n3h.com", "a", Some("latest")),
            ("a-b.C-D:1/a", "a-b.C-D:1", "a", Some("latest")),
            ("1.2.3.4/a", "1.2.3.4", "a", Some("latest")),
            ("h.io:1/a", "h.io:1", "a", Some("latest")),
            ("h.io:65535/a:1", "h.io:65535", "a", Some("1")),
            ("h.io:00443/a", "h.io:00443", "a", Some("latest")),
            ("[::]/a", "[::]", "a", Some("latest")),
            ("[fd00:1:2::3]:8080/a:t", "[fd00:1:2::3]:8080", "a", Some("t")),
            ("[2001:0DB8:85a3:0000:0000:8a2e:0370:7334]/a", "[2001:0DB8:85a3:0000:0000:8a2e:0370:7334]", "a", Some("latest")),
            // Repositories.
            ("a_b/c__d/e.f/g-h/i--j/k---l", hub, "a_b/c__d/e.f/g-h/i--j/k---l", Some("latest")),
            ("0/1", hub, "0/1", Some("latest")),
            ("h.io/foo/project--id.module--name.ver---sion--name", "h.io", "foo/project--id.module--name.ver---sion--name", Some("latest")),
            (&long(247), hub, &format!("library/{}", long(247)), Some("latest")),
            (&format!("h.io/{}", long(255)), "h.io", &long(255), Some("latest")),
            (&format!("h.io/{}a", "a/".repeat(127)), "h.io", &format!("{}a", "a/".repeat(127)), Some("latest")),
            // What is almost an identifier.
            (&HEX[1..], hub, &format!("library/{}", &HEX[1..]), Some("latest")),
            (&format!("{HEX}0"), hub, &format!("library/{HEX}0"), Some("latest")),
            (&format!("{HEX}:1"), hub, &format!("library/{HEX}"), Some("1")),
            (&format!("library/{HEX}"), hub, &format!("library/{HEX}"), Some("latest")),
            (&format!("{HEX}{digest}"), hub, &format!("library/{HEX}"), None),
            ("sha256:a", hub, "library/sha256", Some("a")),
            // Tags.
            ("a:_", hub, "library/a", Some("_")),
            ("a:A.b-C_9", hub, "library/a", Some("A.b-C_9")),
            ("a:9.-", hub, "library/a", Some("9.-")),
            (&format!("a:{}", long(128)), hub, "library/a", Some(&long(128))),
            // Digests.
            (&format!("a{digest}"), hub, "library/a", None),
            (&format!("a{sha512}"), hub, "library/a", None),
            (&format!("localhost:1/a:t{sha512}"), "localhost:1", "a", Some("t")),
            (&format!("localhost:1{digest}"), hub, "library/localhost", Some("1")),
        ];
        for (input, domain, repository, tag) in good {
            let reference: Reference = input.parse().unwrap();
            assert_eq!((reference.domain(), reference.repository(), reference.tag()), (*domain, *repository, *tag), "{input}");
            for form in [reference.to_string(), reference.familiar()] {
                assert_eq!(form.parse::<Reference>().unwrap(), reference, "{input}");
            }
        }
        let bad = [
            // Domains.
            "h_o.io/a", "h.io./a", ".h.io/a", "h.-io/a", "h.io-/a", "h.io:http/a", "h.io:-1/a", "h.io:+1/a", "h.io:1:2/a", ":1/a",
            "do__cker:8080/a", "[]/a", "[::]:/a", "[::]::1/a", "[fe80::1%eth0]/a", "[::ffff:1.2.3.4]/a", "[1:2]/a", "::1/a", "fd00:1::3:80/a", "[1.2.3.4]/a",
            "h.io:1/", "user@h.io/a", "h.io\\a", "h\u{e9}.io/a", "*.io/a", "%61.io/a",
            // Repositories.
            "a/", "a//b", "a/b/", "a/-b", "a/b-", "a/_b", "a/b_", "a/.b", "a/b.", "a/b..c", "a/b___c", "a/b.-c", "a/b-_c", "a/b_.c", "a/B", "a/..", "a/.",
            "h.io/%2e%2e/a", "h.io/a?b", "h.io/a#b", "a\0", "a\t", " a", "a ", "a\u{202e}b",
            // Tags and digests.
            "a:", "a:b:c", "a:-", "a:.", "a:b+c", "a:b~", "a:b/", "a:\u{e9}", "a@", "a@sha256", "a@sha256:", "a:@sha256:", "a@sha384:", "@", "a@sha256:zz", "a@:",
        ];
        let made = [
            format!("h.io/{}", long(256)), long(248), format!("{}.io/a", long(300)), format!("a:{}", long(129)), HEX.to_owned(),
            digest.clone(), format!("a@@sha256:{HEX}"), format!("a{digest}{digest}"), format!("a{digest}:t"), format!("a{digest}0"),
            format!("a@SHA256:{HEX}"), format!("a@sha256:{}", HEX.to_uppercase()), format!("a@sha512:{HEX}"), format!("a@sha384:{HEX}{}", &HEX[..32]),
            format!("a@sha256:{}", &HEX[1..]), format!("a@sha256:{}/", &HEX[1..]), format!("a@sha256:../{}", &HEX[3..]), format!("a/@sha256:{HEX}"),
        ];
        for input in bad.iter().copied().chain(made.iter().map(String::as_str)) {
            assert!(input.parse::<Reference>().is_err(), "{input:?} gave {:?}", input.parse::<Reference>());
        }
    }

    proptest! {
        #[test]
        fn any_text_either_fails_or_has_a_canonical_form_that_stays(text in "\\PC{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(&reference.to_string().parse::<Reference>().unwrap(), &reference);
                prop_assert_eq!(&reference.familiar().parse::<Reference>().unwrap(), &reference);
            }
        }

        #[test]
        fn every_name_of_the_grammar_parses(
            domain in "(([a-zA-Z0-9]{1,8}\\.[a-z]{2,3}|localhost|[A-Z]{1,3}|docker\\.io|\\[[0-9a-f]{1,4}::[0-9A-F]{1,4}\\])(:[1-9][0-9]{0,3})?/)?",
            // A dot in the first of several words would make it a domain.
            path in "([a-z0-9]{1,5}/){0,2}[a-z0-9]{1,5}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}",
            tag in "(:[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127})?",
            digest in "(@sha256:[0-9a-f]{64}|@sha512:[0-9a-f]{128})?",
        ) {
            let text = format!("{domain}{path}{tag}{digest}");
            let reference: Reference = text.parse().unwrap();
            let implied = if tag.is_empty() && digest.is_empty() { ":latest" } else { &tag };
            let end = format!("{path}{implied}{digest}");
            prop_assert!(reference.to_string().ends_with(&end));
            prop_assert_eq!(&reference.familiar().parse::<Reference>().unwrap(), &reference);
        }
    }
}
