//! [`Credentials`], and [`Challenge`]: how a registry asks for them.

use std::fmt;

/// What somebody proves to a registry who they are with.
///
/// Sent to the registry's exact origin only, and to the token service that it names where that is safe.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub(crate) kind: Kind,
}

/// What credentials are made of.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Basic { username: String, password: String },
    IdentityToken(String),
    RegistryToken(String),
}

impl Credentials {
    /// A name and a password or access token.
    pub fn basic(username: impl Into<String>, password: impl Into<String>) -> Self {
        let (username, password) = (username.into(), password.into());
        Self {
            kind: Kind::Basic { username, password },
        }
    }

    /// What a token service once gave in place of a password: it goes to that service alone, which gives an access token
    /// for it ([OAuth 2.0, section 6](https://www.rfc-editor.org/rfc/rfc6749#section-6)).
    pub fn identity_token(token: impl Into<String>) -> Self {
        Self {
            kind: Kind::IdentityToken(token.into()),
        }
    }

    /// What is shown to the registry itself, without asking a token service.
    pub fn registry_token(token: impl Into<String>) -> Self {
        Self {
            kind: Kind::RegistryToken(token.into()),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Credentials");
        match &self.kind {
            Kind::Basic { username, .. } => text.field("username", username),
            Kind::IdentityToken(_) => text.field("kind", &"identity token"),
            Kind::RegistryToken(_) => text.field("kind", &"registry token"),
        };
        text.finish_non_exhaustive()
    }
}

/// One challenge of a `WWW-Authenticate` header
/// ([RFC 9110, section 11](https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Reads all challenges of a header's value. What does not follow the grammar ends the list.
    pub(crate) fn parse(value: &str) -> Vec<Self> {
        let mut challenges: Vec<Self> = Vec::new();
        let mut rest = value;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            let word = &rest[..rest.find(|c| !is_token(c)).unwrap_or(rest.len())];
            if word.is_empty() {
                return challenges;
            }
            rest = &rest[word.len()..];
            let behind = rest.trim_start_matches([' ', '\t']);
            match (behind.strip_prefix('='), challenges.last_mut()) {
                (Some(behind), Some(challenge)) => {
                    let Some((value, behind)) = parameter(behind.trim_start_matches([' ', '\t']))
                    else {
                        return challenges;
                    };
                    challenge.parameters.push((word.to_owned(), value));
                    rest = behind;
                }
                _ => challenges.push(Self {
                    scheme: word.to_owned(),
                    parameters: Vec::new(),
                }),
            }
        }
    }

    /// Whether this is a challenge of the kind `scheme`.
    pub(crate) fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// The value of a parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self
            .parameters
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// Reads a token or a quoted string, and returns what is behind it.
fn parameter(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        // The padding of what is no parameter but a token68 ends here, too.
        let end = text
            .find(|c: char| !is_token(c) && !matches!(c, '=' | '/' | ':'))
            .unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_challenge_of_docker_hub_is_read() {
        let challenges = Challenge::parse(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
        );
        assert_eq!(challenges.len(), 1);
        assert!(challenges[0].is("bearer"));
        assert_eq!(
            challenges[0].parameter("realm"),
            Some("https://auth.docker.io/token")
        );
        assert_eq!(
            challenges[0].parameter("SERVICE"),
            Some("registry.docker.io")
        );
        assert_eq!(
            challenges[0].parameter("scope"),
            Some("repository:a/b:pull,push")
        );
        assert_eq!(challenges[0].parameter("error"), None);
    }

    #[test]
    fn several_challenges_in_one_header_are_told_apart() {
        let challenges = Challenge::parse(
            r#"Negotiate abc==, Basic realm="a \"b\", c" , , bearer realm=x , service = "s""#,
        );
        let schemes: Vec<&str> = challenges
            .iter()
            .map(|challenge| challenge.scheme.as_str())
            .collect();
        assert!(
            schemes.contains(&"Basic") && schemes.contains(&"bearer"),
            "{schemes:?}"
        );
        let basic = challenges
            .iter()
            .find(|challenge| challenge.is("basic"))
            .unwrap();
        assert_eq!(basic.parameter("realm"), Some(r#"a "b", c"#));
        let bearer = challenges
            .iter()
            .find(|challenge| challenge.is("Bearer"))
            .unwrap();
        assert_eq!(
            (bearer.parameter("realm"), bearer.parameter("service")),
            (Some("x"), Some("s"))
        );
    }

    #[test]
    fn a_string_without_end_is_no_parameter() {
        assert_eq!(
            Challenge::parse(r#"Bearer realm="https://a"#)[0].parameter("realm"),
            None
        );
    }

    #[test]
    fn a_password_is_not_shown() {
        for credentials in [
            Credentials::basic("me", "hunter2"),
            Credentials::identity_token("hunter2"),
            Credentials::registry_token("hunter2"),
        ] {
            assert!(!format!("{credentials:?}").contains("hunter2"));
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic_or_loop(value in "\\PC{0,60}|[a-z,= \"\\\\]{0,60}") {
            let _ = Challenge::parse(&value);
        }

        #[test]
        fn any_quoted_value_comes_through(value in "\\PC{0,30}") {
            let quoted = value.replace('\\', r"\\").replace('"', "\\\"");
            let challenges = Challenge::parse(&format!("Bearer a=b,realm=\"{quoted}\",c=d"));
            prop_assert_eq!(challenges[0].parameter("realm"), Some(value.as_str()));
            prop_assert_eq!(challenges[0].parameter("c"), Some("d"));
        }
    }
}
