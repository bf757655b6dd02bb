#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::HashMap;

use crate::json::numbers::put_double;
use crate::json::schema::Row;
use crate::json::tokens::{after_number, closing_quote};
use crate::json::wire::{Malformed, begin_delimited, end_delimited};
use crate::json::{Reader, Writer};

fn rows() -> HashMap<String, Vec<Row>> {
    let row = |key: &str, number, is_list, held: &str| (key.to_owned(), number, is_list, held.to_owned());
    let user = vec![row("id", 1, false, "STRING"), row("numbers", 2, true, "INT32")];
    let users = vec![row("user", 1, true, "User"), row("next", 20, false, "Users")];
    let groups = vec![row("group", 1, true, "Users")];
    let sides = vec![row("left", 1, true, "User"), row("right", 2, true, "User")];
    [("User", user), ("Users", users), ("Groups", groups), ("Sides", sides)]
        .map(|(name, fields)| (name.to_owned(), fields))
        .into()
}

fn reader(root: &str) -> Reader {
    reader_of(rows(), root).unwrap()
}

fn reader_of(rows: HashMap<String, Vec<Row>>, root: &str) -> Result<Reader, String> {
    let rules = HashMap::from([("STRING", "be a string"), ("INT32", "be an int32")]);
    let rules = rules.into_iter().map(|(name, rule)| (name.to_owned(), rule.to_owned())).collect();
    Reader::new(rows, root, &[], 6, rules, "Empty.".to_owned())
}

fn read(body: &str) -> Result<Vec<u8>, String> {
    reader("Users").read(body.as_bytes())
}

#[test]
fn a_body_becomes_a_message() {
    assert_eq!(read("{}"), Ok(vec![]));
    let user = [&[0x0a, 6, 0x0a, 2][..], "é".as_bytes(), &[0x10, 5]].concat();
    assert_eq!(read(r#" { "user" : [ {"id":"\u00e9","numbers":[5]} ] } "#), Ok(user));
    assert_eq!(read(r#"{"next":{"next":{}}}"#), Ok(vec![0xa2, 1, 3, 0xa2, 1, 0]));
}

#[test]
fn what_no_body_can_be_is_said_at_the_start() {
    let of = |count: u32, held: &str| {
        let fields = (1..=count).map(|number| (format!("f{number}"), number, false, held.to_owned())).collect();
        reader_of(HashMap::from([("All".to_owned(), fields)]), "All").map(|_| ())
    };
    assert_eq!(of(64, "INT32"), Ok(()));
    assert_eq!(of(65, "INT32"), Err("a message has more than 64 fields".to_owned()));
    assert_eq!(of(1, "google.protobuf.Struct"), Err("a body cannot hold a google.protobuf.Struct".to_owned()));
}

#[test]
fn lengths_have_as_many_bytes_as_they_need() {
    for length in [0, 1, 100, 124, 125, 126, 127, 128, 129, 200, 16_380, 16_390, 100_000] {
        let id = "x".repeat(length);
        let message = read(&format!(r#"{{"next":{{"user":[{{"id":"{id}"}}]}}}}"#)).unwrap();
        let text = Writer::new(rows(), "Users").unwrap().write(&message).unwrap();
        assert_eq!(text, format!(r#"{{"user":[],"next":{{"user":[{{"id":"{id}","numbers":[]}}]}}}}"#));
    }
}

#[test]
fn lists_that_come_again_among_others_are_read_again() {
    for kinds in [2, 8, 9, 20] {
        let lists = (0..100).map(|place| format!(r#"[{{"id":"{:064}","numbers":[1]}}]"#, place * 7 % kinds));
        let body = format!(r#"{{"group":[{{"user":{}}}]}}"#, lists.collect::<Vec<_>>().join(r#"},{"user":"#));
        let message = reader("Groups").read(body.as_bytes()).unwrap();
        assert_eq!(Writer::new(rows(), "Groups").unwrap().write(&message), Ok(body));
    }
}

#[test]
fn lists_that_come_again_are_read_again() {
    let list = r#"[{"id":"0123456789","numbers":[1,2,3]},{"id":"0123456789","numbers":[4,5,6]}]"#;
    let other = list.replace('6', "7");
    let wrong = list.replace('6', "1.5");
    let body = |lists: [&str; 3]| format!(r#"{{"group":[{{"user":{}}}]}}"#, lists.join(r#"},{"user":"#));
    let read = |lists: [&str; 3]| reader("Groups").read(body(lists).as_bytes());
    let writer = Writer::new(rows(), "Groups").unwrap();
    for lists in [[list, list, list], [list, list, &other], [list, &other, list], [&other, list, "[]"]] {
        assert_eq!(writer.write(&read(lists).unwrap()).unwrap(), body(lists));
    }
    for (lists, place) in
        [([list, &wrong, list], 1), ([&wrong, &wrong, list], 1), ([&wrong, list, &wrong], 2), ([list, list, &wrong], 2)]
    {
        assert_eq!(read(lists), Err(format!("group[{place}].user[1].numbers[2]: be an int32.")));
    }
    let sides = format!(r#"{{"left":{list},"right":{list}}}"#);
    let read_sides = reader("Sides").read(sides.as_bytes()).unwrap();
    assert_eq!(Writer::new(rows(), "Sides").unwrap().write(&read_sides), Ok(sides));
    let cut = &list[..list.len() - 1];
    assert!(read([list, cut, list]).is_err_and(|text| text.starts_with("The body is not JSON")));
    let deeper = format!(r#"{{"user":{list},"next":{{"next":{{"next":{{"user":{list}}}}}}}}}"#);
    assert_eq!(reader("Users").read(deeper.as_bytes()), Err("The body is nested too deeply.".to_owned()));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (body, text) in [
        ("", "Empty."),
        (" ", "The body is not JSON (byte 2)."),
        (" ", "The body is not JSON (byte 2)."),
        ("{} 1", "The body is not JSON (byte 4)."),
        ("[]", "The body must be an object."),
        (r#"{"user":[{},{"id":1}]}"#, "user[1].id: be a string."),
        (r#"{"user":[{"numbers":[1,null]}]}"#, "user[0].numbers[1]: be an int32."),
        (r#"{"user":[{"numbers":[1,1.5]}]}"#, "user[0].numbers[1]: be an int32."),
        (r#"{"next":{"user":[],"user":[]}}"#, "next.user: must not stand twice."),
        (r#"{"a":[[[[[[]]]]]]}"#, "The body is nested too deeply."),
        (r#"{"user":[{"numbers":[1.5]},{"numbers":[null]}]}"#, "user[1].numbers[0]: be an int32."),
        (r#"{"user":[{"numbers":[1.5,2.5]}]}"#, "user[0].numbers[1]: be an int32."),
        (r#"{"user":[{"numbers":[null,1.5]}]}"#, "user[0].numbers[0]: be an int32."),
        (r#"{"a":1e400}"#, "The body must have no number beyond a double (byte 6)."),
        (r#"{"user":[{"numbers":[1e400,1.5]}]}"#, "user[0].numbers[0]: be an int32."),
        (r#"{"a":"\ud800"}"#, "The body must have no lone surrogate (byte 7)."),
        (r#"{"\udc00":1}"#, "The body must have no lone surrogate (byte 3)."),
        (r#"{"user":[{"numbers":[1.5],"id":"\ud800"}]}"#, "user[0].id: must have no lone surrogate (byte 33)."),
    ] {
        assert_eq!(read(body), Err(text.to_owned()), "{body}");
    }
}

#[test]
fn strings_end_at_any_distance() {
    for before in 0..40 {
        for special in ["\"", "\\n\"", "\x1f", "\\x", ""] {
            let text = format!("{}{special}", "é".repeat(before));
            let expected = match special {
                "\"" => Some((2 * before, false)),
                "\\n\"" => Some((2 * before + 2, true)),
                _ => None,
            };
            assert_eq!(closing_quote(text.as_bytes(), 0), expected);
        }
    }
}

#[test]
fn numbers_end_where_they_end() {
    for (text, expected) in [
        ("0", Some((1, true))),
        ("-12,", Some((3, true))),
        ("1.50e+3]", Some((7, false))),
        ("01", None),
        ("-", None),
        ("1.", None),
        ("1e", None),
    ] {
        assert_eq!(after_number(text.as_bytes(), 0), expected);
    }
}

#[test]
fn numbers_are_printed_as_c_does() {
    for (number, expected) in [
        (-0.0, "-0"),
        (1e14, "100000000000000"),
        (1e15, "1e+15"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (1.0 / 3.0, "0.33333333333333331"),
        (5e-324, "4.94065645841247e-324"),
        (f64::NEG_INFINITY, "null"),
    ] {
        let mut text = String::new();
        put_double(&mut text, number);
        assert_eq!(text, expected);
    }
}

#[test]
fn of_a_field_that_comes_again_the_last_counts() {
    let writer = Writer::new(rows(), "User").unwrap();
    let message = [field(1, b"a"), field(1, b"b")].concat();
    assert_eq!(writer.write(&message), Ok(r#"{"id":"b","numbers":[]}"#.to_owned()));
}

fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = begin_delimited(&mut out, number);
    out.extend_from_slice(content);
    end_delimited(&mut out, start);
    out
}

/// An object of any form that has these values under `a`.
fn object(values: &[&[u8]]) -> Vec<u8> {
    let values = values.iter().flat_map(|value| field(2, value));
    field(1, &field(1, b"a").into_iter().chain(values).collect::<Vec<_>>())
}

#[test]
fn objects_of_any_form_are_written() {
    let any = ("any".to_owned(), 1, false, "google.protobuf.Struct".to_owned());
    let writer = Writer::new(HashMap::from([("Answer".to_owned(), vec![any])]), "Answer").unwrap();
    let write = |object: &[u8]| writer.write(&[b"\x25four", &field(1, object)[..]].concat());
    let (null, yes, no, two) = (&[0x08, 0][..], &[0x20, 1][..], &[0x20, 0][..], &[0x20, 2][..]);
    let number = [&[0x11][..], &1.5_f64.to_le_bytes()].concat();
    for (values, text) in [
        (&[null][..], "null"),
        (&[yes], "true"),
        (&[no], "false"),
        (&[two], "true"),
        (&[no, yes], "true"),
        (&[yes, &number], "1.5"),
        (&[&field(3, b"b")], "\"b\""),
        (&[&field(5, &object(&[no]))], r#"{"a":false}"#),
        (&[&field(6, &[field(1, yes), field(1, null)].concat())], "[true,null]"),
    ] {
        assert_eq!(write(&object(values)), Ok(format!(r#"{{"any":{{"a":{text}}}}}"#)));
    }
    assert_eq!(write(&object(&[])), Ok(r#"{"any":{}}"#.to_owned()));
    assert_eq!(write(&field(1, &field(2, null))), Ok(r#"{"any":{"":null}}"#.to_owned()));
    for deeper in [|value: &[u8]| field(5, &object(&[value])), |value: &[u8]| field(6, &field(1, value))] {
        let mut value = null.to_vec();
        for _ in 1..100 {
            value = deeper(&value);
        }
        assert!(write(&object(&[&value])).is_ok());
        assert_eq!(write(&object(&[&deeper(&value)])), Err(Malformed));
    }
}

#[test]
fn any_bytes_are_a_message_or_a_fault() {
    let pieces = [
        r#"{"user":["#,
        r#"{"id":""#,
        r#""numbers":"#,
        "1e9",
        "-",
        "\\ud800",
        "\"",
        "}",
        "]",
        ",",
        "[",
        "null",
        "\u{ff}",
    ];
    let mut state = 1_u64;
    let mut random = move |most: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % most
    };
    let (reader, writer) = (reader("Users"), Writer::new(rows(), "Users").unwrap());
    for _ in 0..50_000 {
        let mut body: Vec<u8> = (0..random(12)).flat_map(|_| pieces[random(pieces.len())].bytes()).collect();
        if random(3) == 0 && !body.is_empty() {
            let place = random(body.len());
            body[place] = u8::try_from(random(256)).unwrap();
        }
        if let Ok(message) = reader.read(&body) {
            writer.write(&message).unwrap();
        }
        let _ = writer.write(&body);
    }
}
