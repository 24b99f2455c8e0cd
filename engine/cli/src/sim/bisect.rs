//! `landfall sim bisect`: since which commit a plan fails.
//!
//! Owns the search, and the work tree in which each commit is tried. The plan is a file, so that it is the same whatever
//! a commit would draw from its seed; a commit that cannot be built or does not know the plan's form is skipped.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::Args as ClapArgs;
use miette::{IntoDiagnostic, WrapErr, miette};

use super::batch::bar;
use super::{DrawArgs, write_file};

/// What is run in each commit's tree if nothing else is said.
const COMMAND: &str = "cargo run --release --quiet -p landfall-cli -- sim replay {plan}";

/// Which plan, and between which commits.
#[derive(Debug, ClapArgs)]
pub(crate) struct BisectArgs {
    /// The plan: a file, or a seed, whose plan is drawn by this version.
    plan: String,
    /// A commit at which the plan goes well.
    #[arg(long)]
    good: String,
    /// A commit at which it fails.
    #[arg(long, default_value = "HEAD")]
    bad: String,
    /// The repository.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    repository: PathBuf,
    /// What is run in each commit's tree, with the plan's file for {plan}: status 0 is well, 127 to 130 fails, anything
    /// else skips the commit.
    #[arg(long, value_name = "COMMAND", default_value = COMMAND)]
    run: String,
    #[command(flatten)]
    draw: DrawArgs,
}

/// What a commit came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Well,
    Fails,
    Skipped,
}

/// Finds the commit.
pub(super) fn bisect(args: &BisectArgs) -> miette::Result<ExitCode> {
    let found = search(args)?;
    match found.as_slice() {
        [one] => {
            println!("the plan fails since {one}");
            let shown = git(
                &args.repository,
                &["show", "--no-patch", "--format=%an, %ad: %s", one],
            )?;
            print!("{shown}");
        }
        several => {
            println!("the plan fails since one of these; those before the last could not be tried:");
            several.iter().for_each(|commit| println!("  {commit}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The commits of which one is the first that fails.
fn search(args: &BisectArgs) -> miette::Result<Vec<String>> {
    let folder = tempfile::tempdir().into_diagnostic()?;
    let plan = match args.plan.parse::<u64>() {
        Ok(seed) => {
            let file = folder.path().join("plan.json");
            write_file(&file, &args.draw.plan(seed)?.to_json())?;
            file
        }
        Err(_) => Path::new(&args.plan)
            .canonicalize()
            .into_diagnostic()
            .wrap_err_with(|| format!("{} cannot be found", args.plan))?,
    };
    let range = format!("{}..{}", args.good, args.bad);
    let commits = git(
        &args.repository,
        &["rev-list", "--reverse", "--first-parent", &range],
    )?;
    let commits: Vec<&str> = commits.lines().collect();
    if commits.is_empty() {
        return Err(miette!(
            "there is no commit between {} and {}",
            args.good,
            args.bad
        ));
    }
    let tree = folder.path().join("tree");
    let tree_text = tree.display().to_string();
    git(
        &args.repository,
        &[
            "worktree",
            "add",
            "--detach",
            &tree_text,
            commits[commits.len() - 1],
        ],
    )?;
    let progress = bar(None, "commits");
    let verdict = |commit: &str| {
        progress.set_message(format!("trying {commit}"));
        progress.inc(1);
        git(&tree, &["checkout", "--quiet", "--detach", commit])?;
        try_commit(&tree, &args.run, &plan)
    };
    let found = verdict(&args.good).and_then(|good| {
        if good != Verdict::Well {
            return Err(miette!(
                "the plan does not go well at {} either: {good:?}",
                args.good
            ));
        }
        first_failing(commits.len(), &mut |index| verdict(commits[index]))
    });
    progress.finish_and_clear();
    let removed = git(&args.repository, &["worktree", "remove", "--force", &tree_text]);
    let found = found?;
    removed?;
    if found.is_empty() {
        return Err(miette!(
            "the plan does not fail at {}, so there is nothing to find",
            args.bad
        ));
    }
    Ok(found.into_iter().map(|index| commits[index].to_owned()).collect())
}

/// Positions of the commits of which one is the first that fails: one, unless neighbours were skipped; none if even the
/// last is well. Whatever fails once fails from then on.
fn first_failing(
    count: usize,
    verdict: &mut dyn FnMut(usize) -> miette::Result<Verdict>,
) -> miette::Result<Vec<usize>> {
    if verdict(count - 1)? != Verdict::Fails {
        return Ok(Vec::new());
    }
    // Everything before `low` is well, `high` fails; in between are those that were not tried or could not be.
    let (mut low, mut high) = (0, count - 1);
    let mut skipped = vec![false; count];
    loop {
        let open: Vec<usize> = (low..high).filter(|index| !skipped[*index]).collect();
        let Some(middle) = open.get(open.len() / 2).copied() else {
            return Ok((low..=high).collect());
        };
        match verdict(middle)? {
            Verdict::Well => low = middle + 1,
            Verdict::Fails => high = middle,
            Verdict::Skipped => skipped[middle] = true,
        }
    }
}

/// The program that a command begins with, if it is a plain word.
fn program_of(command: &str) -> Option<&str> {
    let is_plain = |word: &&str| {
        word.chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "./_+-".contains(letter))
    };
    // Settings of its environment come before it.
    let mut words = command.split_whitespace().skip_while(|word| word.contains('='));
    words.next().filter(is_plain)
}

/// Whether the shell can start the program of a command in this tree. A shell says that it cannot with status 127, which
/// is also that of a plan that fails.
fn can_start(tree: &Path, command: &str) -> miette::Result<bool> {
    let Some(program) = program_of(command) else {
        return Ok(true);
    };
    let found = Command::new("sh")
        .args(["-c", "command -v \"$1\"", "sh", program])
        .current_dir(tree)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .into_diagnostic()
        .wrap_err("a shell cannot be started")?;
    if found.success() {
        return Ok(true);
    }
    // What lies in the tree may be missing at one commit and be there at the next.
    if program.contains('/') {
        return Ok(false);
    }
    Err(miette!(
        help = "--run says what is run in each commit's tree",
        "there is no program `{program}`"
    ))
}

fn try_commit(tree: &Path, command: &str, plan: &Path) -> miette::Result<Verdict> {
    if !can_start(tree, command)? {
        return Ok(Verdict::Skipped);
    }
    // The shell takes what stands between apostrophes as it is; only an apostrophe itself ends it.
    let quoted = plan.display().to_string().replace('\'', r"'\''");
    let command = command.replace("{plan}", &format!("'{quoted}'"));
    let status = Command::new("sh")
        .args(["-c", &command])
        .current_dir(tree)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .into_diagnostic()
        .wrap_err("a shell cannot be started")?;
    Ok(match status.code() {
        Some(0) => Verdict::Well,
        Some(127..=130) => Verdict::Fails,
        _ => Verdict::Skipped,
    })
}

fn git(folder: &Path, args: &[&str]) -> miette::Result<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(args)
        .output()
        .into_diagnostic()
        .wrap_err("git cannot be started")?;
    if output.status.success() {
        return String::from_utf8(output.stdout).into_diagnostic();
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(miette!("git {} failed: {}", args.join(" "), said.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_commit_that_fails_is_found_wherever_it_is() {
        for count in 1..20 {
            for first in 0..count {
                let mut tries = 0;
                let found = first_failing(count, &mut |index| {
                    tries += 1;
                    Ok(if index >= first {
                        Verdict::Fails
                    } else {
                        Verdict::Well
                    })
                });
                assert_eq!(found.expect("nothing fails to run"), [first]);
                assert!(tries <= 6, "{tries} of {count}");
            }
            let well = first_failing(count, &mut |_| Ok(Verdict::Well));
            assert!(well.expect("nothing fails to run").is_empty());
        }
    }

    #[test]
    fn commits_that_cannot_be_tried_leave_a_choice() {
        let found = first_failing(10, &mut |index| {
            Ok(match index {
                4..=6 => Verdict::Skipped,
                0..=3 => Verdict::Well,
                _ => Verdict::Fails,
            })
        });
        assert_eq!(found.expect("nothing fails to run"), [4, 5, 6, 7]);
    }

    #[test]
    fn a_repository_is_searched_in_a_tree_of_its_own() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (repository, plan) = (
            folder.path().join("repository"),
            folder.path().join("Anna's plan.json"),
        );
        std::fs::create_dir(&repository).expect("a folder");
        std::fs::write(&plan, "{}").expect("a file");
        let git = |args: &[&str]| super::git(&repository, args).unwrap_or_else(|error| panic!("{error}"));
        git(&["init", "--quiet"]);
        let mut commits = Vec::new();
        for number in 0..8 {
            // Shells exit with 129 where the simulator finds a violation.
            let status = if number >= 5 { 129 } else { 0 };
            std::fs::write(
                repository.join("check.sh"),
                format!("test -f \"$1\" && exit {status}\n# {number}\n"),
            )
            .expect("a file");
            git(&["add", "."]);
            git(&[
                "-c",
                "user.name=a",
                "-c",
                "user.email=a@example.com",
                "commit",
                "--quiet",
                "-m",
                "next",
            ]);
            commits.push(git(&["rev-parse", "HEAD"]).trim().to_owned());
        }
        let mut args = BisectArgs {
            plan: plan.display().to_string(),
            good: commits[0].clone(),
            bad: commits[7].clone(),
            repository: repository.clone(),
            run: "sh check.sh {plan}".to_owned(),
            draw: DrawArgs {
                busy: 1,
                profile: landfall_sim::Profile::Calm,
                knobs: Vec::new(),
                clients: None,
                every_fault: false,
            },
        };
        assert_eq!(
            search(&args).unwrap_or_else(|error| panic!("{error}")),
            [commits[5].clone()]
        );
        assert_eq!(git(&["worktree", "list"]).lines().count(), 1, "the tree is gone");
        args.bad = commits[4].clone();
        assert!(search(&args).is_err(), "nothing fails there");
        args.run = "no-such-program {plan}".to_owned();
        let missing = search(&args).expect_err("it cannot be started").to_string();
        assert!(missing.contains("`no-such-program`"), "{missing}");
        args.run = "A=1 ./gone.sh {plan}".to_owned();
        let skipped = search(&args).expect_err("it is at no commit").to_string();
        assert!(skipped.contains("Skipped"), "{skipped}");
        args.run = "exit 129".to_owned();
        assert!(
            search(&args).is_err(),
            "what fails from the start is no regression"
        );
    }
}
