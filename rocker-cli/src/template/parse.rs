//! From the text of a format to what is to be shown.

use std::fmt;
use std::iter::Peekable;
use std::vec::IntoIter;

use serde_json::Value;

use super::{Outcome, value};

/// A part of a format.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    Show(Expr),
    /// Conditions and what is shown where they hold; and what otherwise.
    If(Vec<(Expr, Vec<Node>)>, Vec<Node>),
    With(Expr, Vec<Node>, Vec<Node>),
    /// The names of key and value, or of the value alone.
    Range(Vec<String>, Expr, Vec<Node>, Vec<Node>),
}

/// What has a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Literal(Value),
    Dot(Vec<String>),
    Variable(String, Vec<String>),
    Of(Box<Expr>, Vec<String>),
    Call(String, Vec<Expr>),
    Method(Box<Expr>, Vec<Expr>),
}

impl Expr {
    /// The field that it shows first.
    pub(super) fn field(&self) -> Option<String> {
        match self {
            Self::Dot(path) => path.first().cloned(),
            Self::Method(of, _) => of.field(),
            Self::Call(_, args) => args.iter().find_map(Self::field),
            _ => None,
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &[String]| {
            path.iter()
                .map(|name| format!(".{name}"))
                .collect::<String>()
        };
        match self {
            Self::Literal(value) => write!(f, "{value}"),
            Self::Dot(names) if names.is_empty() => f.write_str("."),
            Self::Dot(names) => f.write_str(&path(names)),
            Self::Variable(name, names) => write!(f, "${name}{}", path(names)),
            Self::Of(inner, names) => write!(f, "({inner}){}", path(names)),
            Self::Call(name, args) => {
                f.write_str(name)?;
                args.iter().try_for_each(|arg| write!(f, " {arg}"))
            }
            Self::Method(of, args) => {
                write!(f, "{of}")?;
                args.iter().try_for_each(|arg| write!(f, " {arg}"))
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A name, such as `range` or `json`.
    Word(String),
    /// `.A.B`; nothing for the dot alone.
    Path(Vec<String>),
    /// `$name.A`.
    Variable(String, Vec<String>),
    Literal(Value),
    Open,
    /// With the path behind it.
    Close(Vec<String>),
    Pipe,
    Comma,
    Define,
}

enum Piece {
    Text(String),
    Action(Vec<Token>),
}

type Pieces = Peekable<IntoIter<Piece>>;
type Tokens = Peekable<IntoIter<Token>>;

/// How deep brackets and blocks may be in each other.
const DEEPEST: usize = 64;

pub(super) fn parse(text: &str) -> Outcome<Vec<Node>> {
    let mut pieces = pieces(text)?.into_iter().peekable();
    let nodes = block(&mut pieces, 0)?;
    match pieces.next() {
        None => Ok(nodes),
        Some(_) => Err("an {{if}}, {{with}} or {{range}} for each {{else}} and {{end}}".to_owned()),
    }
}

/// Text and actions, in turn.
fn pieces(text: &str) -> Outcome<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim = false;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some(end) = end_of_action(after) else {
            return Err("a }} for each {{".to_owned());
        };
        let (mut inner, behind) = (&after[..end], &after[end + 2..]);
        let mut before = if trim { before.trim_start() } else { before };
        if let Some(rest) = inner.strip_prefix("- ") {
            (before, inner) = (before.trim_end(), rest);
        }
        trim = inner.ends_with(" -");
        inner = inner.strip_suffix(" -").unwrap_or(inner).trim();
        pieces.push(Piece::Text(unescaped(before)));
        if !(inner.starts_with("/*") && inner.ends_with("*/")) {
            pieces.push(Piece::Action(tokens(inner)?));
        }
        rest = behind;
    }
    let rest = if trim { rest.trim_start() } else { rest };
    pieces.push(Piece::Text(unescaped(rest)));
    Ok(pieces)
}

/// Tabs and ends of lines, which a shell does not make, outside of what is between brackets.
fn unescaped(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

/// Where the `}}` is that is not in quotes.
fn end_of_action(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut quote, mut at) = (None, 0);
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(b'"'), b'\\') => at += 1,
            (Some(open), byte) if open == byte => quote = None,
            (None, byte @ (b'"' | b'`')) => quote = Some(byte),
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn tokens(text: &str) -> Outcome<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let name = |text: &str| {
            let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
            text[..end].to_owned()
        };
        // The names behind dots, and how long they are.
        let path = |text: &str| {
            let (mut names, mut length) = (Vec::new(), 0);
            while let Some(behind) = text[length..].strip_prefix('.') {
                let found = name(behind);
                if found.is_empty() {
                    break;
                }
                length += 1 + found.len();
                names.push(found);
            }
            (names, length)
        };
        let (token, length) = match first {
            c if c.is_whitespace() => {
                rest = &rest[c.len_utf8()..];
                continue;
            }
            '.' => {
                let (names, length) = path(rest);
                (Token::Path(names), length.max(1))
            }
            '$' => {
                let own = name(&rest[1..]);
                let (names, length) = path(&rest[1 + own.len()..]);
                let whole = 1 + own.len() + length;
                (Token::Variable(own, names), whole)
            }
            '(' => (Token::Open, 1),
            ')' => {
                let (names, length) = path(&rest[1..]);
                (Token::Close(names), 1 + length)
            }
            '|' => (Token::Pipe, 1),
            ',' => (Token::Comma, 1),
            ':' if rest.starts_with(":=") => (Token::Define, 2),
            '"' => {
                let mut values = serde_json::Deserializer::from_str(rest).into_iter::<String>();
                match values.next() {
                    Some(Ok(text)) => (Token::Literal(text.into()), values.byte_offset()),
                    _ => return Err("text in quotes that ends".to_owned()),
                }
            }
            '`' => match rest[1..].split_once('`') {
                Some((text, _)) => (Token::Literal(text.into()), text.len() + 2),
                None => return Err("text in quotes that ends".to_owned()),
            },
            c if is_name(c) => {
                let word = name(rest);
                let length = word.len();
                let token = match word.as_str() {
                    "true" => Token::Literal(true.into()),
                    "false" => Token::Literal(false.into()),
                    "nil" => Token::Literal(Value::Null),
                    digits => match digits.parse::<i64>() {
                        Ok(number) => Token::Literal(number.into()),
                        Err(_) => Token::Word(word),
                    },
                };
                (token, length)
            }
            other => return Err(format!("no {other:?} in a template")),
        };
        tokens.push(token);
        rest = &rest[length..];
    }
    Ok(tokens)
}

/// What there is up to the end of a block.
fn block(pieces: &mut Pieces, depth: usize) -> Outcome<Vec<Node>> {
    if depth > DEEPEST {
        return Err("fewer blocks in each other".to_owned());
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.peek() {
        if let Piece::Action(tokens) = piece
            && matches!(tokens.first(), Some(Token::Word(word)) if word == "else" || word == "end")
        {
            break;
        }
        match pieces.next() {
            Some(Piece::Text(text)) => nodes.push(Node::Text(text)),
            Some(Piece::Action(tokens)) => nodes.push(action(tokens, pieces, depth)?),
            None => {}
        }
    }
    Ok(nodes)
}

fn action(tokens: Vec<Token>, pieces: &mut Pieces, depth: usize) -> Outcome<Node> {
    let word = match tokens.first() {
        Some(Token::Word(word)) => word.clone(),
        _ => String::new(),
    };
    let mut tokens = tokens.into_iter().peekable();
    match word.as_str() {
        "if" => {
            tokens.next();
            let mut cases = vec![(whole(tokens)?, block(pieces, depth + 1)?)];
            loop {
                let mut head = closing(pieces)?;
                match head.next() {
                    Some(Token::Word(word)) if word == "end" => {
                        return Ok(Node::If(cases, Vec::new()));
                    }
                    _ if head.peek().is_none() => {
                        let other = block(pieces, depth + 1)?;
                        end(pieces)?;
                        return Ok(Node::If(cases, other));
                    }
                    _ => {
                        if head.next() != Some(Token::Word("if".to_owned())) {
                            return Err("nothing or if behind else".to_owned());
                        }
                        cases.push((whole(head)?, block(pieces, depth + 1)?));
                    }
                }
            }
        }
        "with" => {
            tokens.next();
            let of = whole(tokens)?;
            let (then, other) = both(pieces, depth)?;
            Ok(Node::With(of, then, other))
        }
        "range" => {
            tokens.next();
            let mut names = Vec::new();
            let ahead: Vec<Token> = tokens.collect();
            let mut rest = &ahead[..];
            if let Some(at) = ahead.iter().position(|token| *token == Token::Define) {
                for token in &ahead[..at] {
                    match token {
                        Token::Variable(name, path) if path.is_empty() => names.push(name.clone()),
                        Token::Comma => {}
                        _ => return Err("variables before :=".to_owned()),
                    }
                }
                rest = &ahead[at + 1..];
            }
            if names.len() > 2 {
                return Err("one or two variables before :=".to_owned());
            }
            let of = whole(Vec::from(rest).into_iter().peekable())?;
            let (then, other) = both(pieces, depth)?;
            Ok(Node::Range(names, of, then, other))
        }
        _ => Ok(Node::Show(whole(tokens)?)),
    }
}

/// A block with what is shown otherwise.
fn both(pieces: &mut Pieces, depth: usize) -> Outcome<(Vec<Node>, Vec<Node>)> {
    let then = block(pieces, depth + 1)?;
    let mut other = Vec::new();
    if closing(pieces)?.next() == Some(Token::Word("else".to_owned())) {
        other = block(pieces, depth + 1)?;
        end(pieces)?;
    }
    Ok((then, other))
}

fn closing(pieces: &mut Pieces) -> Outcome<Tokens> {
    match pieces.next() {
        Some(Piece::Action(tokens)) => Ok(tokens.into_iter().peekable()),
        _ => Err("an {{end}} for each {{if}}, {{with}} and {{range}}".to_owned()),
    }
}

fn end(pieces: &mut Pieces) -> Outcome<()> {
    match closing(pieces)?.next() {
        Some(Token::Word(word)) if word == "end" => Ok(()),
        _ => Err("one {{else}} at most".to_owned()),
    }
}

fn whole(mut tokens: Tokens) -> Outcome<Expr> {
    let found = pipeline(&mut tokens, 0)?;
    match tokens.next() {
        None => Ok(found),
        Some(_) => Err("brackets in pairs".to_owned()),
    }
}

fn pipeline(tokens: &mut Tokens, depth: usize) -> Outcome<Expr> {
    let mut found = command(tokens, None, depth)?;
    while tokens.next_if_eq(&Token::Pipe).is_some() {
        found = command(tokens, Some(found), depth)?;
    }
    Ok(found)
}

/// A function with what it is given, or a value; `piped` comes last.
fn command(tokens: &mut Tokens, piped: Option<Expr>, depth: usize) -> Outcome<Expr> {
    if depth > DEEPEST {
        return Err("fewer brackets in each other".to_owned());
    }
    let function = match tokens.peek() {
        Some(Token::Word(word)) if value::FUNCTIONS.contains(&word.as_str()) => Some(word.clone()),
        Some(Token::Word(word)) => return Err(format!("a function that there is, and not {word}")),
        _ => None,
    };
    if function.is_some() {
        tokens.next();
    }
    let mut args = Vec::new();
    while let Some(token) = tokens.next_if(|token| !matches!(token, Token::Pipe | Token::Close(_)))
    {
        args.push(match token {
            Token::Path(path) => Expr::Dot(path),
            Token::Variable(name, path) => Expr::Variable(name, path),
            Token::Literal(value) => Expr::Literal(value),
            Token::Open => {
                let inner = pipeline(tokens, depth + 1)?;
                match tokens.next() {
                    Some(Token::Close(path)) => Expr::Of(Box::new(inner), path),
                    _ => return Err("brackets in pairs".to_owned()),
                }
            }
            Token::Word(word) if value::FUNCTIONS.contains(&word.as_str()) => {
                Expr::Call(word, Vec::new())
            }
            _ => return Err("names, texts and functions between {{ and }}".to_owned()),
        });
    }
    args.extend(piped);
    match function {
        Some(name) => Ok(Expr::Call(name, args)),
        None if args.is_empty() => Err("something between {{ and }}".to_owned()),
        None => {
            let first = args.remove(0);
            match args.is_empty() {
                true => Ok(first),
                false => Ok(Expr::Method(Box::new(first), args)),
            }
        }
    }
}
