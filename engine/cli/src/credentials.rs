//! How the commands that call an API prove who asks.
//!
//! Owns the flags. Secrets come from flags, from the environment or from a file, and are never printed; what is in the
//! environment or in a file does not show in the list of processes.

use std::fmt;
use std::path::PathBuf;

use clap::Args as ClapArgs;
use landfall::{DataStoreBuilder, Secret, TokenProvider, TokenResult};
use landfall_netsync::{Authorization, AwsCredentials, Endpoint};
use miette::{Context as _, IntoDiagnostic as _, miette};
use tokio::io::AsyncReadExt as _;

use crate::serve::WELL_KNOWN_API_KEY;

/// Largest file that is taken for a token, in bytes: as much as servers take of headers.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;

/// Who asks. Of several ways the last in this list is taken.
#[derive(ClapArgs)]
#[group(skip)]
pub(crate) struct CredentialArgs {
    /// API key; by default the one that `landfall serve` takes by default.
    #[arg(long, value_name = "KEY", env = "LANDFALL_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Token instead, of a user pool, an OpenID Connect provider or for a Lambda authorizer.
    #[arg(long, value_name = "TOKEN", env = "LANDFALL_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// File with such a token; read before each request, so that it can be replaced.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Sign with the AWS credentials in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN instead.
    #[arg(long)]
    iam: bool,
    /// AWS region to sign for; needed if the API has a domain of its own.
    #[arg(long, value_name = "REGION", requires = "iam")]
    region: Option<String>,
}

impl fmt::Debug for CredentialArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialArgs(***)")
    }
}

impl CredentialArgs {
    /// A key and perhaps a token, as flags give them.
    #[cfg(test)]
    pub(crate) fn with(api_key: &str, token: Option<&str>) -> Self {
        Self {
            api_key: Some(api_key.to_owned()),
            token: token.map(str::to_owned),
            token_file: None,
            iam: false,
            region: None,
        }
    }

    /// The store that this configures, syncing with the API.
    ///
    /// # Errors
    /// If a file cannot be read, or the environment has no AWS credentials.
    pub(crate) fn attach(&self, builder: DataStoreBuilder, url: &str) -> miette::Result<DataStoreBuilder> {
        let builder = builder.endpoint_with(url, self.authorization()?);
        Ok(match &self.region {
            Some(region) => builder.region(region),
            None => builder,
        })
    }

    /// The API to call.
    ///
    /// # Errors
    /// As [`attach`](Self::attach), and for a URL that cannot be one.
    pub(crate) fn endpoint(&self, url: &str) -> miette::Result<Endpoint> {
        let endpoint = Endpoint::new(url, self.authorization()?).into_diagnostic()?;
        Ok(match &self.region {
            Some(region) => endpoint.with_region(region),
            None => endpoint,
        })
    }

    fn authorization(&self) -> miette::Result<Authorization> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if self.iam {
            return Ok(Authorization::iam(aws_credentials(|name| {
                std::env::var(name).ok()
            })?));
        }
        if let Some(path) = &self.token_file {
            // Looked at now, so that a wrong name is found out before anything else.
            std::fs::metadata(path)
                .into_diagnostic()
                .wrap_err_with(|| format!("cannot read {} (--token-file)", path.display()))?;
            return Ok(Authorization::token_from(TokenFile(path.clone())));
        }
        Ok(match (given(&self.token), given(&self.api_key)) {
            (Some(token), _) => Authorization::fixed_token(token),
            (None, Some(key)) => Authorization::api_key(key),
            (None, None) => Authorization::api_key(WELL_KNOWN_API_KEY),
        })
    }
}

/// The AWS credentials in the environment, by the names that AWS's own tools use.
fn aws_credentials(variable: impl Fn(&str) -> Option<String>) -> miette::Result<AwsCredentials> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let needed = |name: &str| set(name).ok_or_else(|| miette!("--iam needs {name} in the environment"));
    Ok(AwsCredentials {
        access_key_id: needed("AWS_ACCESS_KEY_ID")?,
        secret_access_key: needed("AWS_SECRET_ACCESS_KEY")?.into(),
        session_token: set("AWS_SESSION_TOKEN").map(Secret::from),
    })
}

/// A token that lies in a file.
struct TokenFile(PathBuf);

impl TokenProvider for TokenFile {
    fn token(&self) -> futures_util::future::BoxFuture<'static, TokenResult> {
        let path = self.0.clone();
        Box::pin(async move {
            let mut text = String::new();
            let file = tokio::fs::File::open(&path).await;
            let read = match file {
                Ok(file) => file.take(TOKEN_BYTES_MAX).read_to_string(&mut text).await,
                Err(error) => Err(error),
            };
            let token = match read {
                Ok(_) if !text.trim().is_empty() => Secret::new(text.trim()),
                Ok(_) => return Err(format!("{} is empty", path.display()).into()),
                Err(error) => return Err(format!("{}: {error}", path.display()).into()),
            };
            Ok(token)
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        credentials: CredentialArgs,
    }

    fn authorization(flags: &[&str]) -> Result<Authorization, String> {
        let line = [&["shell"], flags].concat();
        let command = Command::try_parse_from(line).map_err(|error| error.to_string())?;
        command
            .credentials
            .authorization()
            .map_err(|error| format!("{error:?}"))
    }

    fn key_of(flags: &[&str]) -> String {
        match authorization(flags).unwrap() {
            Authorization::ApiKey(key) => key.expose().to_owned(),
            other => panic!("{other:?}"),
        }
    }

    async fn token_of(authorization: &Authorization) -> Result<String, String> {
        let Authorization::Token(provider) = authorization else {
            return Err(format!("{authorization:?}"));
        };
        let token = provider.token().await.map_err(|error| error.to_string())?;
        Ok(token.expose().to_owned())
    }

    #[tokio::test]
    async fn a_token_goes_before_a_key_and_a_file_before_a_token() {
        assert_eq!(key_of(&["--api-key", "", "--token", ""]), WELL_KNOWN_API_KEY);
        assert_eq!(key_of(&["--api-key", "da2-x", "--token", ""]), "da2-x");
        let given = authorization(&["--api-key", "da2-x", "--token", "t0k3n"]).unwrap();
        assert_eq!(token_of(&given).await.as_deref(), Ok("t0k3n"));

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let flags = ["--token", "t0k3n", "--token-file", path.to_str().unwrap()];
        assert!(authorization(&flags).unwrap_err().contains("--token-file"));
        std::fs::write(&path, "first\n").unwrap();
        let given = authorization(&flags).unwrap();
        assert_eq!(token_of(&given).await.as_deref(), Ok("first"));
        std::fs::write(&path, "second").unwrap();
        assert_eq!(
            token_of(&given).await.as_deref(),
            Ok("second"),
            "it is read again"
        );
        std::fs::write(&path, "\n").unwrap();
        assert!(token_of(&given).await.unwrap_err().contains("is empty"));
    }

    #[test]
    fn aws_credentials_are_those_of_the_environment() {
        let of = |given: &'static [(&'static str, &'static str)]| {
            aws_credentials(move |name| {
                let found = given.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        let all = of(&[
            ("AWS_ACCESS_KEY_ID", "AKIA"),
            ("AWS_SECRET_ACCESS_KEY", "s3cret"),
            ("AWS_SESSION_TOKEN", ""),
        ])
        .unwrap();
        assert_eq!(
            (all.access_key_id.as_str(), all.session_token.is_some()),
            ("AKIA", false)
        );
        let fault = of(&[("AWS_ACCESS_KEY_ID", "AKIA")]).unwrap_err().to_string();
        assert!(fault.contains("AWS_SECRET_ACCESS_KEY"), "{fault}");
        assert!(
            authorization(&["--region", "eu-west-1"]).is_err(),
            "nothing is signed"
        );
    }

    #[test]
    fn nothing_of_it_is_printed() {
        let line = ["shell", "--api-key", "s3cret", "--token", "t0k3n"];
        let shown = format!("{:?}", Command::parse_from(line));
        assert!(!shown.contains("s3cret") && !shown.contains("t0k3n"), "{shown}");
    }
}
