//! A door for the programs in fuzz/, to what is nobody else's business.

use crate::pax::{Pax, time};

/// Reads PAX records in every way, and checks what must be true of those that are understood.
pub fn pax(raw: &[u8]) {
    let _ = Pax::find(raw);
    let _ = time(raw);
    let Ok(pax) = Pax::parse(raw) else { return };
    let mut again = Vec::new();
    for (key, value) in &pax.records {
        assert!(!key.contains(&b'='), "a key has an end");
        assert_eq!(pax.get(key), Some(*value), "a key stands there once");
        let rest = key.len() + value.len() + 3;
        let length = (1..).find(|digits| (rest + digits).to_string().len() == *digits);
        again.extend_from_slice(format!("{} ", rest + length.unwrap_or(0)).as_bytes());
        again.extend_from_slice(&[key, &b"="[..], value, b"\n"].concat());
    }
    let same = Pax::parse(&again).is_ok_and(|again| again.records == pax.records);
    assert!(same, "what was read is all that there is");
    if let Ok(Some(sparse)) = pax.sparse(1 << 20) {
        assert!(sparse.map.is_none_or(|map| map.len() <= 1 << 19));
    }
}
