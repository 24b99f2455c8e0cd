//! What may be given as the value of a flag of `landfall serve`: refused early, with a word on what would do.
//!
//! Owns the checks of single values. What flags mean together is checked where they are used.

/// An API key that a header can carry; an empty one would let nobody in.
pub(super) fn api_key(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err("an API key has at least one character, and only visible ones of ASCII, such as da2-k3y".to_owned())
}

/// An origin as browsers write it.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let is_host = |host: &str| {
        !host.is_empty()
            && host.bytes().all(|byte| {
                byte.is_ascii_graphic() && !byte.is_ascii_uppercase() && !b"/?#@*".contains(&byte)
            })
    };
    match text.split_once("://") {
        Some((scheme, host)) if is_host(scheme) && is_host(host) => Ok(text.to_owned()),
        _ => Err(
            "an origin is written as browsers do, in lower case and without a path, such as https://app.example.com; \
             leave it out to let pages of all origins call"
                .to_owned(),
        ),
    }
}

/// A name that identifies somebody.
pub(super) fn name(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("a name has at least one character".to_owned());
    }
    Ok(text.to_owned())
}

/// One of several names with commas between; blanks around it do not count.
pub(super) fn listed_name(text: &str) -> Result<String, String> {
    name(text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_fit_into_a_header() {
        assert_eq!(api_key("da2-k3y~"), Ok("da2-k3y~".to_owned()));
        for bad in ["", " ", "two words", "k3y\n", "schlüssel"] {
            assert!(api_key(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn origins_are_as_browsers_write_them() {
        for good in [
            "https://app.example.com",
            "http://localhost:3000",
            "capacitor://localhost",
            "http://[::1]:80",
        ] {
            assert_eq!(origin(good), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "*",
            "app.example.com",
            "https://",
            "https://app.example.com/",
            "https://App.example.com",
            "https://*.example.com",
            "https://a b",
        ] {
            assert!(origin(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_are_not_blank() {
        assert_eq!(name("alice"), Ok("alice".to_owned()));
        assert_eq!(listed_name(" Staff"), Ok("Staff".to_owned()));
        for bad in ["", " "] {
            assert!(name(bad).is_err() && listed_name(bad).is_err(), "{bad:?}");
        }
    }
}
