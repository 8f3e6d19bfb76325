//! Texts that no protocol describes, such as strings that a function is called with.

use super::{Privacy, PrivacySettings};

const MASK: &str = "***";

/// Masks such texts: whole where their name says that they are secret, else what has the shape of a secret.
#[derive(Debug)]
pub struct TextMask(Privacy);

impl TextMask {
    /// A masker by these settings.
    pub fn new(settings: &PrivacySettings) -> Self {
        Self(Privacy::new(settings))
    }

    /// The text without its secrets; `name` is what it is called, where that is known.
    pub fn masked(&mut self, name: Option<&str>, text: &str) -> String {
        if name.is_some_and(|name| self.0.names.field(name)) {
            return MASK.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        if self.0.suspects(text.as_bytes()) {
            self.0.mask_text(text, &mut out);
        } else {
            out.push_str(text);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::{PrivacySettings, TextMask};

    #[test]
    fn secrets_are_masked_by_name_and_by_shape() {
        let mut mask = TextMask::new(&PrivacySettings::default());
        assert_eq!(mask.masked(Some("db_password"), "abc"), "***");
        assert_eq!(mask.masked(Some("path"), "/etc/hosts"), "/etc/hosts");
        assert_eq!(mask.masked(None, "to jane@example.org now"), "to *** now");
    }
}
