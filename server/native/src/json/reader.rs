//! Reads a JSON body strictly into an encoded protobuf message, in one pass.
//!
//! Errors in the structure of a body take precedence over wrong values, wherever these are: on the other hosts, such a
//! body never reaches the gateway's transcoder. Of several wrong values, the last one is reported, as the transcoder
//! does.

use std::collections::HashMap;

use crate::json::lists::Lists;
use crate::json::places::{Due, Form, Level, fault};
use crate::json::scalars::{int32_of_number, int32_of_text, is_finite};
use crate::json::schema::{Field, Kind, Row, Schema};
use crate::json::text::{lone_surrogate, unescape};
use crate::json::tokens::{after_literal, after_number, after_space, byte, closing_quote};
use crate::json::wire::{begin_delimited, end_delimited, put_int32};

/// Number of nesting levels that space is reserved for.
const USUAL_LEVELS: usize = 8;

/// Reads bodies of one message type.
#[derive(Debug)]
pub struct Reader {
    schema: Schema,
    /// Bytes that every message begins with.
    start: Vec<u8>,
    depth: usize,
    /// Error text for an empty body.
    empty: String,
    text_rule: String,
    int32_rule: String,
}

impl Reader {
    /// Every message begins with `start`; `depth` is the maximum nesting, `rules` has the error texts for scalar types.
    pub fn new(
        rows: HashMap<String, Vec<Row>>,
        root: &str,
        start: &[u8],
        depth: usize,
        mut rules: HashMap<String, String>,
        empty: String,
    ) -> Result<Self, String> {
        let schema = Schema::new(rows, root)?;
        if schema.has(Kind::Struct) {
            return Err("a body cannot hold a google.protobuf.Struct".to_owned());
        }
        let mut rule = |name: &str| rules.remove(name).ok_or_else(|| format!("there is no rule for {name}"));
        Ok(Self { text_rule: rule("STRING")?, int32_rule: rule("INT32")?, schema, start: start.to_vec(), depth, empty })
    }

    /// The message that a body encodes, or an error text.
    pub fn read(&self, body: &[u8]) -> Result<Vec<u8>, String> {
        if body.is_empty() {
            return Err(self.empty.clone());
        }
        let mut out = Vec::with_capacity(self.start.len() + body.len());
        out.extend_from_slice(&self.start);
        let reading = Reading {
            reader: self,
            body,
            at: 0,
            levels: Vec::with_capacity(USUAL_LEVELS),
            utf8_bytes: str::from_utf8(body).map_or_else(|error| error.valid_up_to(), |_| body.len()),
            wrong: Vec::new(),
            lists: Lists::default(),
            out,
        };
        reading.run()
    }

    fn rule(&self, due: Due<'_>) -> &str {
        match due.form() {
            Form::List => "must be a list",
            Form::Object => "must be an object",
            Form::Text => &self.text_rule,
            Form::Any | Form::Number => &self.int32_rule,
        }
    }
}

struct Reading<'a> {
    reader: &'a Reader,
    body: &'a [u8],
    at: usize,
    levels: Vec<Level<'a>>,
    /// How many bytes of the body are valid UTF-8.
    utf8_bytes: usize,
    /// Position of the last wrong value; empty if there is none.
    wrong: Vec<Level<'a>>,
    lists: Lists<'a>,
    out: Vec<u8>,
}

impl<'a> Reading<'a> {
    fn run(mut self) -> Result<Vec<u8>, String> {
        let mut due = Due::Root;
        self.skip(0);
        loop {
            if !self.begin(due)? && !self.go_on()? {
                break;
            }
            due = self.due()?;
        }
        if self.wrong.is_empty() { Ok(self.out) } else { Err(fault(&self.wrong, &self.reader.int32_rule)) }
    }

    /// Skips this many bytes and the white space after them.
    fn skip(&mut self, bytes: usize) {
        self.at = after_space(self.body, self.at + bytes);
    }

    fn byte(&self) -> u8 {
        byte(self.body, self.at)
    }

    fn malformed<T>(&self) -> Result<T, String> {
        Err(format!("The body is not JSON (byte {}).", self.at + 1))
    }

    /// Reads a scalar, or opens a container; returns whether a non-empty container has been opened.
    fn begin(&mut self, due: Due<'a>) -> Result<bool, String> {
        match self.byte() {
            b'{' => self.open(due, Form::Object, b'}'),
            b'[' => self.open(due, Form::List, b']'),
            _ => self.scalar(due).map(|()| false),
        }
    }

    fn open(&mut self, due: Due<'a>, form: Form, end: u8) -> Result<bool, String> {
        let must = due.form();
        if must != Form::Any && must != form {
            return Err(fault(&self.levels, self.reader.rule(due)));
        }
        if self.levels.len() == self.reader.depth {
            return Err("The body is nested too deeply.".to_owned());
        }
        let level = match due {
            Due::Value(field) if form == Form::List => {
                if let Some((raw, encoded)) = self.lists.find(field, self.levels.len(), self.body, self.at) {
                    self.out.extend_from_slice(encoded);
                    self.at += raw.len();
                    return Ok(false);
                }
                Level::List { elements: Some(field), index: 0, began: (self.at, self.out.len()) }
            }
            _ if form == Form::List => Level::List { elements: None, index: 0, began: (self.at, self.out.len()) },
            _ => self.object(due),
        };
        self.levels.push(level);
        self.skip(1);
        let is_empty = self.byte() == end;
        if is_empty {
            self.close();
        }
        Ok(!is_empty)
    }

    fn object(&mut self, due: Due<'a>) -> Level<'a> {
        let schema = &self.reader.schema;
        let (fields, start) = match due {
            Due::Root => (schema.fields(schema.root()), None),
            Due::Value(field) | Due::Element(field) => {
                let start = begin_delimited(&mut self.out, field.number);
                (if let Kind::Message(place) = field.kind { schema.fields(place) } else { &[] }, Some(start))
            }
            Due::Any => (&[][..], None),
        };
        Level::Object { fields, key: None, seen: 0, start }
    }

    /// Closes the innermost container, at its last byte.
    fn close(&mut self) {
        self.at += 1;
        match self.levels.pop() {
            Some(Level::Object { start: Some(start), .. }) => end_delimited(&mut self.out, start),
            Some(Level::List { elements: Some(field), began: (start, out_start), .. }) if self.wrong.is_empty() => {
                let raw = self.body.get(start..self.at).unwrap_or_default();
                self.lists.keep(field, self.levels.len(), raw, self.out.get(out_start..).unwrap_or_default());
            }
            _ => {}
        }
    }

    /// Goes on after a value, closing the containers that end; returns whether another value follows.
    fn go_on(&mut self) -> Result<bool, String> {
        loop {
            self.skip(0);
            let next = self.byte();
            match (self.levels.last_mut(), next) {
                (None, _) => return if self.at < self.body.len() { self.malformed() } else { Ok(false) },
                (Some(level), b',') => {
                    if let Level::List { index, .. } = level {
                        *index += 1;
                    }
                    self.skip(1);
                    return Ok(true);
                }
                (Some(Level::Object { .. }), b'}') | (Some(Level::List { .. }), b']') => self.close(),
                _ => return self.malformed(),
            }
        }
    }

    /// What is allowed next in the innermost container; in an object, reads the key.
    fn due(&mut self) -> Result<Due<'a>, String> {
        match self.levels.last() {
            Some(Level::List { elements, .. }) => Ok(elements.map_or(Due::Any, Due::Element)),
            Some(Level::Object { fields, .. }) => self.key(fields),
            None => self.malformed(),
        }
    }

    fn key(&mut self, fields: &'a [Field]) -> Result<Due<'a>, String> {
        let Some((raw, escapes)) = self.string() else { return self.malformed() };
        self.check(Due::Any, raw, escapes)?;
        let found = if escapes { escaped_key(fields, raw) } else { named(fields, raw) };
        self.skip(raw.len() + 2);
        if self.byte() != b':' {
            return self.malformed();
        }
        self.skip(1);
        let absent = self.byte() == b'n';
        let Some(Level::Object { key, seen, .. }) = self.levels.last_mut() else { return self.malformed() };
        *key = found;
        let Some(field) = found else { return Ok(Due::Any) };
        if !absent {
            if *seen & field.bit != 0 {
                return Err(fault(&self.levels, "must not stand twice"));
            }
            *seen |= field.bit;
        }
        Ok(Due::Value(field))
    }

    /// The text between the quotes of the string that starts here, and whether it has escapes; None if there is no
    /// string.
    fn string(&self) -> Option<(&'a [u8], bool)> {
        if self.byte() != b'"' {
            return None;
        }
        let (end, escapes) = closing_quote(self.body, self.at + 1)?;
        Some((self.body.get(self.at + 1..end)?, escapes))
    }

    /// Checks the encoding of the string that starts here; `raw` is the text between its quotes.
    fn check(&self, due: Due<'a>, raw: &[u8], escapes: bool) -> Result<(), String> {
        let start = self.at + 1;
        let lone = if escapes { lone_surrogate(raw).map(|at| start + at) } else { None };
        match lone {
            Some(at) if at < self.utf8_bytes => Err(self.unreadable(due, "have no lone surrogate", at)),
            _ if self.utf8_bytes < start + raw.len() => Err(self.unreadable(due, "be UTF-8", self.utf8_bytes)),
            _ => Ok(()),
        }
    }

    /// An error text for what cannot be read at `at`; it names the path if the keys are known.
    fn unreadable(&self, due: Due<'a>, must: &str, at: usize) -> String {
        let levels = if due.form() == Form::Any { &[][..] } else { &self.levels };
        fault(levels, &format!("must {must} (byte {})", at + 1))
    }

    fn scalar(&mut self, due: Due<'a>) -> Result<(), String> {
        match self.byte() {
            b'"' => {
                let Some((raw, escapes)) = self.string() else { return self.malformed() };
                self.must_be(due, &[Form::Any, Form::Text, Form::Number])?;
                self.check(due, raw, escapes)?;
                self.text(due, raw, escapes);
                self.at += raw.len() + 2;
            }
            b'-' | b'0'..=b'9' => {
                let Some((end, is_whole)) = after_number(self.body, self.at) else { return self.malformed() };
                self.must_be(due, &[Form::Any, Form::Number])?;
                self.number(due, end, is_whole)?;
                self.at = end;
            }
            first => {
                let Some(end) = after_literal(self.body, self.at) else { return self.malformed() };
                let null_key = first == b'n' && matches!(self.levels.last(), Some(Level::Object { .. }));
                if !null_key {
                    self.must_be(due, if first == b'n' { &[Form::Any] } else { &[Form::Any, Form::Number] })?;
                    if due.form() == Form::Number {
                        self.wrong.clone_from(&self.levels);
                    }
                }
                self.at = end;
            }
        }
        Ok(())
    }

    fn must_be(&self, due: Due<'a>, forms: &[Form]) -> Result<(), String> {
        if forms.contains(&due.form()) { Ok(()) } else { Err(fault(&self.levels, self.reader.rule(due))) }
    }

    fn text(&mut self, due: Due<'a>, raw: &[u8], escapes: bool) {
        let (Due::Value(field) | Due::Element(field)) = due else { return };
        if field.kind == Kind::Int32 {
            let mut plain = Vec::new();
            unescape(raw, &mut plain);
            self.int32(field, int32_of_text(&plain));
            return;
        }
        let start = begin_delimited(&mut self.out, field.number);
        if escapes {
            unescape(raw, &mut self.out);
        } else {
            self.out.extend_from_slice(raw);
        }
        end_delimited(&mut self.out, start);
    }

    fn number(&mut self, due: Due<'a>, end: usize, is_whole: bool) -> Result<(), String> {
        let number = self.body.get(self.at..end).unwrap_or_default();
        match due {
            Due::Value(field) | Due::Element(field) => match int32_of_number(number, is_whole) {
                Ok(value) => self.int32(field, value),
                Err(_) => return Err(fault(&self.levels, &self.reader.int32_rule)),
            },
            _ if is_finite(number, is_whole) => {}
            _ => return Err(self.unreadable(due, "have no number beyond a double", self.at)),
        }
        Ok(())
    }

    fn int32(&mut self, field: &Field, value: Option<i32>) {
        match value {
            Some(value) => put_int32(&mut self.out, field.number, value),
            None => self.wrong.clone_from(&self.levels),
        }
    }
}

fn escaped_key<'a>(fields: &'a [Field], raw: &[u8]) -> Option<&'a Field> {
    let mut key = Vec::new();
    unescape(raw, &mut key);
    named(fields, &key)
}

fn named<'a>(fields: &'a [Field], key: &[u8]) -> Option<&'a Field> {
    fields.iter().find(|field| field.key.as_bytes() == key || field.json_name.as_bytes() == key)
}
