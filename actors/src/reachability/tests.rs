//! The actor on paused time; the machine's own tests are beside the machine.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use actix::prelude::*;
use futures_util::future::BoxFuture;
use landfall_wire::{Credentials, HttpRequest, HttpResponse, Socket, Transport, TransportError};
use tokio::sync::mpsc;

use crate::config::SyncSettings;
use crate::handlers::{ErrorHandler, SyncError};
use crate::port::Port;
use crate::reachability::{Outcome, ReachabilityActor, ReachabilityMessage};
use crate::storage::Epoch;
use crate::supervisor::SupervisorMessage;
use crate::test_support::{SimTime, ear, on_paused_time, paused_env};

/// A server that can be unplugged.
#[derive(Default)]
struct Plug {
    unplugged: AtomicBool,
    requests: AtomicU64,
}

impl Transport for Plug {
    fn execute(&self, request: HttpRequest) -> BoxFuture<'static, Result<HttpResponse, TransportError>> {
        assert!(
            request.body.contains("__typename"),
            "a probe asks for nothing else: {}",
            request.body
        );
        self.requests.fetch_add(1, Ordering::Relaxed);
        let answer = if self.unplugged.load(Ordering::Relaxed) {
            Err(TransportError::Unreachable {
                reason: "unplugged".into(),
            })
        } else {
            Ok(HttpResponse::new(503, "busy"))
        };
        Box::pin(std::future::ready(answer))
    }

    fn connect(&self) -> BoxFuture<'static, Result<Box<dyn Socket>, TransportError>> {
        unreachable!("probes need no socket")
    }

    fn authorize(&self, _: &str) -> BoxFuture<'static, Result<Credentials, TransportError>> {
        unreachable!("probes are authorized by the transport")
    }

    fn endpoint(&self) -> &str {
        "http://me:secret@plug/graphql?key=secret"
    }
}

/// What the app was told.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<SyncError>>>);

impl ErrorHandler for Heard {
    fn handle(&self, error: SyncError) {
        self.0.lock().unwrap().push(error);
    }
}

impl Heard {
    fn settings(&self) -> SyncSettings {
        SyncSettings {
            error_handler: Arc::new(self.clone()),
            ..SyncSettings::default()
        }
    }

    fn messages(&self) -> Vec<String> {
        let errors = self.0.lock().unwrap();
        errors.iter().map(|error| error.message.clone()).collect()
    }
}

/// The verdicts that a supervisor was told.
fn verdicts(told: &mut mpsc::UnboundedReceiver<(u64, SupervisorMessage)>) -> Vec<(u64, bool)> {
    let verdict = |(at_ms, message)| match message {
        SupervisorMessage::NetworkChanged {
            epoch: Epoch(7),
            online,
        } => (at_ms, online),
        other => panic!("unexpected {other:?}"),
    };
    std::iter::from_fn(|| told.try_recv().ok()).map(verdict).collect()
}

#[test]
fn an_outage_is_noticed_by_report_and_its_end_by_probes() {
    on_paused_time(async {
        let plug = Arc::new(Plug::default());
        let env = paused_env(Some(Arc::clone(&plug) as Arc<dyn Transport>));
        let (supervisor, mut told) = ear(&env);
        let heard = Heard::default();
        let actor = ReachabilityActor::new(env.clone(), Epoch(7), false, supervisor, heard.settings());
        let port = Port::new(&actor.start(), env);
        SimTime::pass(1_000).await;
        // An error status is an answer.
        assert_eq!(verdicts(&mut told), [(0, true)]);

        plug.unplugged.store(true, Ordering::Relaxed);
        port.tell(ReachabilityMessage::Report(Outcome::Unreachable))
            .unwrap();
        SimTime::pass(4_000).await;
        assert_eq!(verdicts(&mut told), [(1_250, false)]);
        let probes = plug.requests.load(Ordering::Relaxed);
        assert!((5..=10).contains(&probes), "{probes} probes in 4 seconds");
        let outage = "the server at http://plug/graphql?… cannot be reached: unplugged";
        assert_eq!(heard.messages(), [outage], "once, and without what is secret");

        plug.unplugged.store(false, Ordering::Relaxed);
        SimTime::pass(4_000).await;
        let told = verdicts(&mut told);
        assert!(matches!(told[..], [(5_250..9_000, true)]), "{told:?}");
        assert_eq!(heard.messages().len(), 1, "its end is no error");

        // Whoever cuts the network is not told that it is cut.
        port.tell(ReachabilityMessage::ForceOffline { offline: true })
            .unwrap();
        SimTime::pass(1_000).await;
        assert_eq!(heard.messages().len(), 1);

        port.tell(ReachabilityMessage::Stop).unwrap();
        SimTime::pass(1).await;
        assert!(
            port.tell(ReachabilityMessage::Stop).is_err(),
            "the actor has stopped"
        );
    });
}
