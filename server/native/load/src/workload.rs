//! Request bodies: one template for each campaign that a call can start with; users' IDs are filled in.

use crate::http::PREFIX_BYTES;
use crate::plan::{Lane, Order, Pool};

/// Users are assigned to campaigns in rotation, so that the users of a call have different blocks, as in real traffic.
const CAMPAIGNS: usize = 4;
/// Distance between the first segment IDs of two campaigns.
const CAMPAIGN_SEGMENTS: usize = 25;
const EXPIRATION_MINUTES: usize = 1440;

/// The bodies of a lane's calls. Neighbouring calls have no users in common.
pub struct Workload {
    templates: Vec<Template>,
    round: Round,
    first_id: u64,
    users: usize,
    taken: usize,
}

/// An encoded call, and the offsets of its users' IDs.
struct Template {
    bytes: Vec<u8>,
    ids: Vec<usize>,
    digits: usize,
}

impl Workload {
    pub fn new(lane: &Lane) -> Self {
        let digits = lane.pool.first_id.to_string().len();
        let templates = (0..CAMPAIGNS).map(|first| match &lane.request {
            Some(request) => Template { bytes: request.body.clone(), ids: Vec::new(), digits },
            None if lane.call.is_grpc() => grpc_message(first, lane.users, lane.blocks, digits),
            None => json(first, lane.users, lane.blocks, digits),
        });
        let templates = templates.collect();
        Self { templates, round: Round::new(&lane.pool), first_id: lane.pool.first_id, users: lane.users, taken: 0 }
    }

    /// Writes the next call's body.
    pub fn write(&mut self, body: &mut Vec<u8>) {
        let template = &self.templates[self.taken % CAMPAIGNS];
        body.clear();
        body.extend_from_slice(&template.bytes);
        for &start in &template.ids {
            let mut id = self.first_id + self.round.next();
            for digit in body[start..start + template.digits].iter_mut().rev() {
                *digit = b'0' + (id % 10) as u8;
                id /= 10;
            }
        }
        self.taken = (self.taken + self.users) % CAMPAIGNS;
    }
}

/// Cycles through the pool. In both orders, a user's position determines its campaign, since steps are 1 modulo 4.
struct Round {
    users: u64,
    step: u64,
    place: u64,
}

impl Round {
    fn new(pool: &Pool) -> Self {
        let mut step = 1;
        if pool.order == Order::Scattered {
            // The golden ratio puts neighbours far apart.
            step = (pool.users as f64 * 0.618) as u64 / 4 * 4 + 1;
            while greatest_common_divisor(step, pool.users) != 1 {
                step += 4;
            }
        }
        Self { users: pool.users, step: step % pool.users, place: 0 }
    }

    fn next(&mut self) -> u64 {
        let place = self.place;
        self.place = (place + self.step) % self.users;
        place
    }
}

fn greatest_common_divisor(mut larger: u64, mut smaller: u64) -> u64 {
    while smaller != 0 {
        (larger, smaller) = (smaller, larger % smaller);
    }
    larger
}

/// Segment ID and value of each block of a campaign's users.
fn blocks_of(campaign: usize, blocks: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..blocks).map(move |place| (1 + campaign * CAMPAIGN_SEGMENTS + place, campaign))
}

fn grpc_message(first: usize, users: usize, blocks: usize, digits: usize) -> Template {
    let mut message = Vec::new();
    let mut ids = Vec::new();
    for place in 0..users {
        let mut user = field(1, &vec![b'0'; digits]);
        let id_end = user.len();
        for (segment_id, value) in blocks_of((first + place) % CAMPAIGNS, blocks) {
            user.extend(field(2, &numbers(&[(1, segment_id), (3, value), (4, EXPIRATION_MINUTES)])));
        }
        let user_bytes = user.len();
        message.extend(field(1, &user));
        ids.push(PREFIX_BYTES + message.len() - user_bytes + id_end - digits);
    }
    let mut bytes = vec![0];
    bytes.extend((message.len() as u32).to_be_bytes());
    bytes.extend(message);
    Template { bytes, ids, digits }
}

fn json(first: usize, users: usize, blocks: usize, digits: usize) -> Template {
    let mut text = String::from(r#"{"rt_segment": ["#);
    let mut ids = Vec::new();
    for place in 0..users {
        text.push_str(if place > 0 { ", " } else { "" });
        text.push_str(r#"{"user_id": ""#);
        ids.push(text.len());
        let blocks: Vec<String> = blocks_of((first + place) % CAMPAIGNS, blocks)
            .map(|(id, value)| format!(r#"{{"seg_id": {id}, "value": {value}, "expiration": {EXPIRATION_MINUTES}}}"#))
            .collect();
        text.push_str(&format!(r#"{}", "seg_block": [{}]}}"#, "0".repeat(digits), blocks.join(", ")));
    }
    text.push_str("]}");
    Template { bytes: text.into_bytes(), ids, digits }
}

/// The answer to a call whose users and blocks were all accepted.
pub fn whole_answer(users: usize, blocks: usize) -> Vec<u8> {
    let mut result = field(1, b"OK");
    result.extend(field(2, &numbers(&[(1, users), (2, users * blocks)])));
    field(1, &result)
}

/// Encodes a length-delimited protobuf field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    put_varint(&mut bytes, content.len());
    bytes.extend_from_slice(content);
    bytes
}

/// Encodes protobuf varint fields.
fn numbers(fields: &[(u8, usize)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &(number, value) in fields {
        bytes.push(number << 3);
        put_varint(&mut bytes, value);
    }
    bytes
}

fn put_varint(bytes: &mut Vec<u8>, mut value: usize) {
    while value > 0x7F {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::plan::{Call, lane_for_tests};

    fn workload(call: Call, users: usize) -> Workload {
        let pool = Pool { first_id: 10, users: 8, ..Pool::default() };
        Workload::new(&Lane { users, blocks: 2, pool, ..lane_for_tests(call) })
    }

    #[test]
    fn a_grpc_message_has_its_users_and_blocks() {
        let mut workload = workload(Call::Unary, 1);
        let mut body = Vec::new();
        workload.write(&mut body);
        assert_eq!(
            body,
            b"\0\0\0\0\x18\x0a\x16\x0a\x0210\x12\x07\x08\x01\x18\x00\x20\xa0\x0b\x12\x07\x08\x02\x18\x00\x20\xa0\x0b"
        );
        workload.write(&mut body);
        assert_eq!(&body[9..11], b"11");
        assert_eq!(&body[13..17], b"\x08\x1a\x18\x01");
    }

    #[test]
    fn json_has_its_users_and_blocks() {
        let mut workload = workload(Call::Rest, 2);
        let mut body = Vec::new();
        workload.write(&mut body);
        workload.write(&mut body);
        let parsed: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(parsed["rt_segment"][1]["user_id"], "13");
        assert_eq!(parsed["rt_segment"][1]["seg_block"][1]["seg_id"], 77);
        assert_eq!(parsed["rt_segment"][1]["seg_block"][1]["value"], 3);
    }

    #[test]
    fn a_round_meets_every_user_once_with_its_own_campaign() {
        for order in [Order::Sequential, Order::Scattered] {
            for users in [4, 8, 1000, 50_000] {
                let mut round = Round::new(&Pool { users, order, ..Pool::default() });
                let places: Vec<u64> = (0..users).map(|_| round.next()).collect();
                assert!(places.iter().enumerate().all(|(turn, place)| turn as u64 % 4 == place % 4));
                assert_eq!(places.iter().collect::<HashSet<_>>().len() as u64, users);
                assert_eq!(round.next(), 0);
            }
        }
    }

    #[test]
    fn the_whole_answer_counts_users_and_blocks() {
        assert_eq!(whole_answer(100, 2), b"\x0a\x0b\x0a\x02OK\x12\x05\x08\x64\x10\xc8\x01");
    }
}
