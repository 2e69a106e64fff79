//! The PEM files that the settings name.

use std::fs::File;
use std::io::Read;

use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Problem;

/// More than all certificate authorities of a host take together.
const MOST_BYTES: u64 = 16 << 20;

/// A file that a line of the settings names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PemFile {
    pub(crate) line: usize,
    pub(crate) key: String,
    pub(crate) path: String,
    /// Whether there must be a private key beside the certificates.
    pub(crate) with_key: bool,
}

impl PemFile {
    /// What is wrong with it at this moment.
    pub(crate) fn problem(&self) -> Option<Problem> {
        let why = self.look().err()?;
        Some(Problem { line: self.line, message: format!("{}: {} {why}", self.key, self.path) })
    }

    fn look(&self) -> Result<(), String> {
        let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
        let mut text = Vec::new();
        let file = File::open(&self.path).map_err(unreadable)?;
        file.take(MOST_BYTES + 1).read_to_end(&mut text).map_err(unreadable)?;
        if u64::try_from(text.len()).is_ok_and(|length| length > MOST_BYTES) {
            return Err("is no file of certificates: it has more than 16 MiB".to_owned());
        }
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        match certificates {
            Err(error) => return Err(format!("is damaged: {error}")),
            Ok(certificates) if certificates.is_empty() => return Err("has no certificate".to_owned()),
            Ok(_) => {}
        }
        if self.with_key && PrivateKeyDer::from_pem_slice(&text).is_err() {
            return Err("has no private key that is not encrypted".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::client_properties::parse;

    /// A certificate is not looked into: what it says is the brokers' business.
    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";

    fn problems(content: Option<&[u8]>) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("store.pem");
        if let Some(content) = content {
            std::fs::write(&file, content).expect("written");
        }
        let place = file.display();
        let text = format!(
            "security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location={place}\n\
             ssl.keystore.type=PEM\nssl.keystore.location={place}\n"
        );
        let security = parse(&text).expect("parses");
        let problems = security.check_files();
        problems.iter().map(|problem| problem.to_string().replace(&place.to_string(), "FILE")).collect()
    }

    #[test]
    fn a_store_that_is_of_no_use_is_told_with_the_line_that_names_it() {
        assert_eq!(problems(Some(format!("{KEY}{CERTIFICATE}").as_bytes())), Vec::<String>::new());
        let no_key = problems(Some(CERTIFICATE.as_bytes()));
        assert_eq!(no_key, ["line 5: ssl.keystore.location: FILE has no private key that is not encrypted"]);
        for (content, why) in [
            (None, "FILE cannot be read: "),
            (Some(&b"\xfe\xed\xfe\xed\0\0"[..]), "FILE has no certificate"),
            (Some(&b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"[..]), "FILE is damaged"),
        ] {
            let found = problems(content);
            assert_eq!(found.len(), 2, "{found:?}");
            assert!(found[0].starts_with(&format!("line 3: ssl.truststore.location: {why}")), "{found:?}");
        }
    }
}
