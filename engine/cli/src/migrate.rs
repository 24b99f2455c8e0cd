//! `landfall migrate`: carries a store over to another schema, or says what that would do.
//!
//! Owns the steps that can be given on the command line. Conversions in code belong into the app, which gives its
//! migrations to the store that it opens.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args as ClapArgs;
use indicatif::{ProgressBar, ProgressStyle};
use landfall::{DataStore, DataStoreBuilder, Migration, MigrationReport, Value};

use crate::data::must_exist;
use crate::opening;
use crate::schema_file;

/// Give the steps that the schema alone does not tell; whatever they leave out is refused with every reason.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The schema to carry the data over to: GraphQL SDL or introspection JSON.
    #[arg(long)]
    schema: PathBuf,
    /// Directory of the store.
    #[arg(long)]
    data: PathBuf,
    /// Only say what would be done; no data is changed.
    #[arg(long)]
    dry_run: bool,
    /// Name of the migration; a store goes through each name once. By default the steps and the time, so that each call is
    /// a migration of its own.
    #[arg(long)]
    name: Option<String>,
    /// Give up what unsent changes set in fields that are removed: the server never gets it.
    #[arg(long)]
    drop_unsent: bool,
    /// OLD=NEW: a model has another name. Done before everything else.
    #[arg(long, value_name = "OLD=NEW")]
    rename_model: Vec<String>,
    /// MODEL.OLD=NEW: a field has another name. Models go by their new names from here on.
    #[arg(long, value_name = "MODEL.OLD=NEW")]
    rename_field: Vec<String>,
    /// MODEL: its records go.
    #[arg(long, value_name = "MODEL")]
    remove_model: Vec<String>,
    /// MODEL.FIELD: its values go.
    #[arg(long, value_name = "MODEL.FIELD")]
    remove_field: Vec<String>,
    /// MODEL.FIELD: its values are converted to the new type.
    #[arg(long, value_name = "MODEL.FIELD")]
    retype: Vec<String>,
    /// MODEL.FIELD=VALUE: what records have that lack a required field; VALUE is JSON where it can be, else text.
    #[arg(long, value_name = "MODEL.FIELD=VALUE")]
    fill: Vec<String>,
}

pub(crate) async fn run(args: Args) -> miette::Result<ExitCode> {
    let schema = Arc::new(schema_file::read(&args.schema)?);
    let migration = migration(&args)?;
    // A store is not made by mistake: a directory without one is a typing error here.
    must_exist(&args.data)?;
    let builder = || {
        let builder = DataStore::builder(&schema).directory(&args.data);
        if migration.steps().is_empty() {
            builder
        } else {
            builder.migrate(migration.clone())
        }
    };
    let report = with_bar(builder())
        .rehearse()
        .map_err(|error| opening::explained(&error, &args.data, &schema))?;
    tell(&report);
    if args.dry_run {
        println!("no data was changed; leave out --dry-run to do it");
        return Ok(ExitCode::SUCCESS);
    }
    if !report.lost_values.is_empty() && !args.drop_unsent {
        let lost: Vec<String> = report.lost_values.iter().map(ToString::to_string).collect();
        return Err(miette::miette!(
            help = "let the changes be sent first, by an app or a shell with the old schema, or give --drop-unsent",
            "{}; nothing was changed",
            lost.join("; ")
        ));
    }
    let store = opening::open(with_bar(builder()), &args.data, &schema).await?;
    store.close().await;
    println!("done");
    Ok(ExitCode::SUCCESS)
}

fn tell(report: &MigrationReport) {
    for name in &report.skipped {
        println!("{name:?} is not done: the store went through it before, or its data needs no such steps");
    }
    if report.reasons.is_empty() {
        println!("the data fits the schema as it is");
    } else {
        println!("without a migration the schema would lose data:");
        for reason in &report.reasons {
            println!("  {reason}");
        }
        println!(
            "the steps carry over {} records, {} unsent changes and {} log entries",
            report.records, report.mutations, report.entries
        );
    }
    for lost in &report.lost_values {
        println!("{lost}");
    }
    if report.waiting > 0 {
        println!("unsent changes that stay, those included: {}", report.waiting);
    }
}

fn with_bar(builder: DataStoreBuilder) -> DataStoreBuilder {
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len}, {eta} left");
    let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    builder.on_migration(move |at| {
        // Indexes are built behind the migration, and counted by themselves.
        if at.done < bar.position() {
            bar.reset();
        }
        bar.set_length(at.total);
        bar.set_position(at.done);
        if at.done == at.total {
            bar.finish_and_clear();
        }
    })
}

/// The steps in the order that the names in them ask for.
fn migration(args: &Args) -> miette::Result<Migration> {
    let unnamed = steps(args, Migration::named(""))?;
    let name = args.name.clone().unwrap_or_else(|| {
        let steps: Vec<String> = unnamed.steps().iter().map(ToString::to_string).collect();
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        format!("{} at {}", steps.join(", "), since_epoch.as_millis())
    });
    steps(args, Migration::named(name))
}

fn steps(args: &Args, mut migration: Migration) -> miette::Result<Migration> {
    for text in &args.rename_model {
        let (from, to) = pair(text, "OLD=NEW")?;
        migration = migration.rename_model(from, to);
    }
    for text in &args.rename_field {
        let (place, to) = pair(text, "MODEL.OLD=NEW")?;
        let (model, from) = place_of(place)?;
        migration = migration.rename_field(model, from, to);
    }
    for model in &args.remove_model {
        migration = migration.remove_model(model.as_str());
    }
    for text in &args.remove_field {
        let (model, field) = place_of(text)?;
        migration = migration.remove_field(model, field);
    }
    for text in &args.retype {
        let (model, field) = place_of(text)?;
        migration = migration.retype(model, field);
    }
    for text in &args.fill {
        let (place, value) = pair(text, "MODEL.FIELD=VALUE")?;
        let (model, field) = place_of(place)?;
        let value =
            serde_json::from_str::<serde_json::Value>(value).map_or_else(|_| value.into(), Value::from);
        migration = migration.fill(model, field, value);
    }
    Ok(migration)
}

fn pair<'t>(text: &'t str, form: &str) -> miette::Result<(&'t str, &'t str)> {
    text.split_once('=')
        .ok_or_else(|| miette::miette!("`{text}` is not of the form {form}"))
}

fn place_of(text: &str) -> miette::Result<(&str, &str)> {
    text.split_once('.')
        .ok_or_else(|| miette::miette!("`{text}` is not of the form MODEL.FIELD"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "type Post @model { title: String! stars: String }";
    const NEW: &str = "type Article @model { title: String! rating: Int language: String! }";

    fn args(data: PathBuf, schema: PathBuf, steps: bool) -> Args {
        let only = |text: &str| if steps { vec![text.to_owned()] } else { Vec::new() };
        Args {
            schema,
            data,
            dry_run: false,
            drop_unsent: false,
            name: None,
            rename_model: only("Post=Article"),
            rename_field: only("Article.stars=rating"),
            remove_model: Vec::new(),
            remove_field: Vec::new(),
            retype: only("Article.rating"),
            fill: only("Article.language=en"),
        }
    }

    #[tokio::test]
    async fn a_store_is_carried_over_by_steps_of_the_command_line() {
        let home = tempfile::tempdir().expect("a directory");
        let (data, file) = (home.path().join("data"), home.path().join("new.graphql"));
        std::fs::write(&file, NEW).expect("written");
        let old = Arc::new(schema_file::parse("old", OLD).expect("sound"));
        let new = Arc::new(schema_file::parse("new", NEW).expect("sound"));
        let store = DataStore::builder(&old)
            .directory(&data)
            .open()
            .await
            .expect("opens");
        let def = store.records().def("Post").expect("there");
        let post = landfall::Record::new(def, vec!["p1".into(), "T".into(), "5".into()]);
        store.records().save(post).await.expect("valid");
        store.close().await;

        assert!(
            run(args(data.clone(), file.clone(), false)).await.is_err(),
            "data would be lost"
        );
        let dry = Args {
            dry_run: true,
            ..args(data.clone(), file.clone(), true)
        };
        run(dry).await.expect("it would work");
        assert!(
            DataStore::builder(&new).directory(&data).open().await.is_err(),
            "nothing was changed"
        );
        run(args(data.clone(), file.clone(), true))
            .await
            .expect("it works");
        let store = DataStore::builder(&new)
            .directory(&data)
            .open()
            .await
            .expect("it fits now");
        let article = store
            .records()
            .get("Article", &"p1".into())
            .expect("readable")
            .expect("there");
        assert_eq!(
            (article.get("rating"), article.get("language")),
            (Some(&5.into()), Some(&"en".into()))
        );
        store.close().await;
        assert!(run(args(home.path().join("typo"), file, true)).await.is_err());
    }

    #[tokio::test]
    async fn a_store_goes_through_one_migration_after_another_without_names() {
        let home = tempfile::tempdir().expect("a directory");
        let (data, file) = (home.path().join("data"), home.path().join("schema.graphql"));
        let schema_of = |field: &str| format!("type Post @model {{ title: String! {field}: String }}");
        let parsed = |field: &str| Arc::new(schema_file::parse("s", &schema_of(field)).expect("sound"));
        let store = DataStore::builder(&parsed("a"))
            .directory(&data)
            .open()
            .await
            .expect("opens");
        let def = store.records().def("Post").expect("there");
        let post = landfall::Record::new(def, vec!["p1".into(), "T".into(), "kept".into()]);
        store.records().save(post).await.expect("valid");
        store.close().await;
        let rename = |from: &str, to: &str, name: Option<&str>| Args {
            rename_field: vec![format!("Post.{from}={to}")],
            name: name.map(ToOwned::to_owned),
            ..args(data.clone(), file.clone(), false)
        };
        // Back and forth, so that steps come again.
        for (from, to) in [("a", "b"), ("b", "a"), ("a", "b"), ("b", "d")] {
            std::fs::write(&file, schema_of(to)).expect("written");
            run(rename(from, to, None)).await.expect("it works");
        }
        std::fs::write(&file, schema_of("e")).expect("written");
        run(rename("d", "e", Some("mine"))).await.expect("it works");
        std::fs::write(&file, schema_of("f")).expect("written");
        let refused = run(rename("e", "f", Some("mine")))
            .await
            .expect_err("the name is used up");
        assert!(
            refused.to_string().contains("\"mine\" was gone through before"),
            "{refused}"
        );
        run(rename("e", "f", None)).await.expect("it works");
        let store = DataStore::builder(&parsed("f"))
            .directory(&data)
            .open()
            .await
            .expect("it fits now");
        let post = store.records().get("Post", &"p1".into()).expect("readable");
        assert_eq!(post.expect("there").get("f"), Some(&"kept".into()));
        store.close().await;
    }

    #[test]
    fn steps_that_are_not_understood_are_refused() {
        for (bad, given) in [
            ("Post", 0),
            ("Post.stars", 1),
            ("stars=rating", 1),
            ("language=en", 2),
        ] {
            let mut args = args(PathBuf::new(), PathBuf::new(), false);
            [&mut args.rename_model, &mut args.rename_field, &mut args.fill][given].push(bad.to_owned());
            assert!(steps(&args, Migration::named("")).is_err(), "{bad}");
        }
    }
}
