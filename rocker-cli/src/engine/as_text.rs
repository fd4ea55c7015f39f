//! Values that are written down the way a person types them.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// For `#[serde(with)]`: each value of a list, or an option, as its text.
pub(crate) fn serialize<'a, T: Display + 'a, S: Serializer>(
    values: impl IntoIterator<Item = &'a T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(values.into_iter().map(ToString::to_string))
}

/// The same values back.
pub(crate) fn deserialize<'de, T, C, D>(deserializer: D) -> Result<C, D::Error>
where
    T: FromStr<Err: Display>,
    C: FromValues<T>,
    D: Deserializer<'de>,
{
    let texts = Vec::<String>::deserialize(deserializer)?;
    let values: Result<Vec<T>, _> = texts.iter().map(|text| text.parse()).collect();
    values.map(C::from_values).map_err(D::Error::custom)
}

/// What values are read into.
pub(crate) trait FromValues<T> {
    fn from_values(values: Vec<T>) -> Self;
}

impl<T> FromValues<T> for Vec<T> {
    fn from_values(values: Vec<T>) -> Self {
        values
    }
}

impl<T> FromValues<T> for Option<T> {
    fn from_values(values: Vec<T>) -> Self {
        values.into_iter().next()
    }
}
