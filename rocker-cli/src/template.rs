//! `--format` as Docker's users know it: the part of Go's text/template that such formats are made of.
//!
//! `{{.State.Pid}}`, `{{json .Config}}`, `{{range $port, $to := .Ports}}…{{else}}…{{end}}`, `{{if}}`, `{{with}}`, `{{index .A "b"}}`,
//! pipes, brackets, `{{- -}}`, and Docker's own functions. A name that is not there is an error, so that a typing mistake is one.

mod parse;
mod value;

use std::collections::HashMap;

use serde_json::Value;

use self::parse::{Expr, Node};
use crate::{Error, Result};

/// A format that has been read.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    nodes: Vec<Node>,
}

/// What goes wrong in a template: said to the person who typed it.
type Outcome<T> = std::result::Result<T, String>;

/// What the names in a template mean at one place.
#[derive(Debug, Clone)]
struct Scope {
    dot: Value,
    variables: HashMap<String, Value>,
}

impl Template {
    /// Reads a format.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match parse::parse(text) {
            Ok(nodes) => Ok(Self { nodes }),
            Err(why) => Err(Error::bad_value("--format", text, why)),
        }
    }

    /// The text for one value.
    pub(crate) fn render(&self, value: &Value) -> Result<String> {
        let scope = Scope {
            dot: value.clone(),
            variables: HashMap::from([(String::new(), value.clone())]),
        };
        let mut text = String::new();
        match render(&self.nodes, &scope, &mut text) {
            Ok(()) => Ok(text),
            Err(why) => Err(Error::bad_value("--format", why.0, why.1)),
        }
    }

    /// The names of the fields that a format shows, for the head of a table.
    pub(crate) fn fields(&self) -> Vec<String> {
        fn of(nodes: &[Node]) -> Vec<String> {
            let shown = |node: &Node| match node {
                Node::Text(_) => Vec::new(),
                Node::Show(expr) => expr.field().into_iter().collect(),
                Node::If(cases, _) => cases.iter().flat_map(|(_, then)| of(then)).collect(),
                Node::With(_, then, _) | Node::Range(_, _, then, _) => of(then),
            };
            nodes.iter().flat_map(shown).collect()
        }
        of(&self.nodes)
    }
}

/// What was looked at, and what is wrong with it.
type Wrong = (String, String);

fn render(nodes: &[Node], scope: &Scope, text: &mut String) -> std::result::Result<(), Wrong> {
    for node in nodes {
        match node {
            Node::Text(part) => text.push_str(part),
            Node::Show(expr) => text.push_str(&value::shown(&of(expr, scope)?)),
            Node::If(cases, other) => {
                let mut chosen = other;
                for (condition, then) in cases {
                    if value::is_true(&of(condition, scope)?) {
                        chosen = then;
                        break;
                    }
                }
                render(chosen, scope, text)?;
            }
            Node::With(expr, then, other) => {
                let dot = of(expr, scope)?;
                match value::is_true(&dot) {
                    true => render(then, &scope.at(dot), text)?,
                    false => render(other, scope, text)?,
                }
            }
            Node::Range(names, expr, then, other) => {
                let all = value::items(&of(expr, scope)?);
                if all.is_empty() {
                    render(other, scope, text)?;
                }
                for (key, item) in all {
                    let mut inner = scope.at(item.clone());
                    match &names[..] {
                        [one] => drop(inner.variables.insert(one.clone(), item)),
                        [one, other] => {
                            inner.variables.insert(one.clone(), key);
                            inner.variables.insert(other.clone(), item);
                        }
                        _ => {}
                    }
                    render(then, &inner, text)?;
                }
            }
        }
    }
    Ok(())
}

impl Scope {
    fn at(&self, dot: Value) -> Self {
        Self {
            dot,
            variables: self.variables.clone(),
        }
    }
}

fn of(expr: &Expr, scope: &Scope) -> std::result::Result<Value, Wrong> {
    evaluate(expr, scope).map_err(|why| (expr.to_string(), why))
}

fn evaluate(expr: &Expr, scope: &Scope) -> Outcome<Value> {
    match expr {
        Expr::Literal(value) => Ok(value.clone()),
        Expr::Dot(path) => value::walk(&scope.dot, path),
        Expr::Variable(name, path) => match scope.variables.get(name) {
            Some(found) => value::walk(found, path),
            None => Err(format!("no variable ${name}")),
        },
        Expr::Of(inner, path) => value::walk(&evaluate(inner, scope)?, path),
        Expr::Call(name, args) => {
            let args: Vec<Value> = args
                .iter()
                .map(|arg| evaluate(arg, scope))
                .collect::<Outcome<_>>()?;
            value::call(name, &args)
        }
        // `.Label "key"`, which is a method in Docker.
        Expr::Method(field, args) => {
            let mut found = evaluate(field, scope)?;
            for arg in args {
                found = value::index(&found, &evaluate(arg, scope)?)?;
            }
            Ok(found)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn shown(text: &str) -> String {
        let value = json!({
            "Name": "web", "Pid": 7, "Running": true, "Dead": false, "Nothing": null,
            "Env": ["A=1", "B=2"],
            "Labels": {"a.b": "c", "x": "y"},
            "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "90/tcp": null},
            "State": {"Health": {"Status": "healthy"}},
        });
        Template::parse(text).unwrap().render(&value).unwrap()
    }

    #[test]
    fn the_formats_of_dockers_users_work() {
        for (text, expected) in [
            ("{{.Name}} {{ .Pid }}", "web 7"),
            ("{{json .Env}}", r#"["A=1","B=2"]"#),
            ("{{.Env}} {{.Labels}}", "[A=1 B=2] map[a.b:c x:y]"),
            ("{{range .Env}}{{println .}}{{end}}", "A=1\nB=2\n"),
            (
                "{{range $i, $e := .Env}}{{$i}}:{{$e}} {{end}}",
                "0:A=1 1:B=2 ",
            ),
            (r#"{{index .Labels "a.b"}}"#, "c"),
            (r#"{{.Labels.x}} {{join .Env ","}}"#, "y A=1,B=2"),
            (
                r#"{{range $p, $c := .Ports}}{{if $c}}{{$p}}->{{(index $c 0).HostPort}}{{end}}{{end}}"#,
                "80/tcp->8080",
            ),
            ("{{if .Running}}up{{else}}down{{end}}", "up"),
            ("{{if .Dead}}a{{else if .Running}}b{{else}}c{{end}}", "b"),
            ("{{with .State.Health}}{{.Status}}{{end}}", "healthy"),
            ("{{.Name | upper | json}}", "\"WEB\""),
            (
                r#"{{if eq .Name "web"}}yes{{end}}{{if and .Running (not .Dead)}}!{{end}}"#,
                "yes!",
            ),
            ("a {{- .Name -}} b", "awebb"),
            ("{{len .Env}} {{.Nothing}}", "2 <no value>"),
            (
                "{{if .Health}}a{{else}}none{{end}} {{.Labels.none}}",
                "none <no value>",
            ),
            (r#"{{join .Env "\n"}}"#, "A=1\nB=2"),
            (r#"{{.Labels "x"}}\t{{/* no word */}}|"#, "y\t|"),
            ("{{$.Name}}{{range .Env}}{{$.Pid}}{{end}}", "web77"),
            (
                r#"{{(index (split .Name "e") 0) | printf "%s-%v" .Pid}}"#,
                "7-w",
            ),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for text in [
            "{{",
            "{{.A",
            "{{range .A}}",
            "{{end}}",
            "{{json",
            "{{nosuch .A}}",
            "{{.A}} {{else}}",
            "{{\"a}}",
            "{{)}}",
        ] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
        let template = Template::parse("{{.Nme}}").unwrap();
        let error = template
            .render(&json!({"Name": 1}))
            .unwrap_err()
            .to_string();
        assert!(error.contains(".Nme") && error.contains("Name"), "{error}");
    }

    proptest! {
        #[test]
        fn no_format_is_too_strange(text in ".*", inner in r#"[{}.$|()a-c "\-:=,0-9]*"#) {
            for text in [text, format!("{{{{{inner}}}}}")] {
                if let Ok(template) = Template::parse(&text) {
                    let _ = template.render(&json!({"a": [1, {"b": "c"}]}));
                }
            }
        }
    }
}
