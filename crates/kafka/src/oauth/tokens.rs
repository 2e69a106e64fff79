//! One token for all connections: renewed in time, asked for once however many connections wait for it, and asked for
//! calmly where there is none.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use krafka::KrafkaError;
use krafka::auth::OAuthBearerToken;
use tokio::sync::watch;

use super::{Fresh, Provider, TokenError, wall_clock};

/// How long a connection waits for a token that is being fetched: less than what connecting is given, so that the
/// caller is told what it waits for. Fetching goes on meanwhile.
const PATIENCE: Duration = Duration::from_millis(1500);
/// A token is renewed this long before its end, or when four fifths of its time are over if that is later.
const RENEW_BEFORE_END: Duration = Duration::from_secs(60);
/// No token is renewed more often than this, however short its time.
const SHORTEST_TIME: Duration = Duration::from_secs(1);
/// How long a token is used that does not say how long it is good for. Hardly one is good for less than five minutes.
const UNKNOWN_TIME: Duration = Duration::from_secs(300);
/// How long a file's content is used before the file is read again.
const READ_FILE_AGAIN: Duration = Duration::from_secs(10);
/// The wait after the first failure, doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// The longest wait after a refusal: settings that were put right at the provider are found within this time.
const LONGEST_REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// The longest wait where the provider does not answer; Kafka's default of `sasl.login.retry.backoff.max.ms`.
const LONGEST_UNAVAILABLE_PAUSE: Duration = Duration::from_secs(10);
/// A token that a broker has refused is replaced if it is older than this, so that a broker that refuses everything
/// does not make us ask the provider all the time. A file is read again at once.
const REPLACE_REFUSED_AFTER: Duration = Duration::from_secs(30);
/// The client asks for a new token this long before the end that it was told.
const CLIENTS_MARGIN: Duration = Duration::from_secs(30);

/// A token in use.
#[derive(Clone)]
pub(crate) struct Held {
    value: Arc<str>,
    /// Counts the tokens that there have been.
    pub(crate) generation: u64,
    since: Instant,
    renew_at: Instant,
    /// `None`: not known.
    ends_at: Option<Instant>,
}

/// The tokens of one cluster's connections.
pub(crate) struct Tokens {
    provider: Provider,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    failed: Option<Failed>,
    /// Closed when the attempt is over.
    fetching: Option<watch::Receiver<()>>,
    generation: u64,
}

struct Failed {
    error: TokenError,
    pause: Duration,
    until: Instant,
}

/// What somebody who wants a token is to do.
enum Step {
    Take(Result<Held, TokenError>),
    /// A token is to be fetched; the one held, if any, is good meanwhile.
    Fetch(Option<Held>),
}

impl Tokens {
    pub(crate) fn new(provider: Provider) -> Self {
        Self { provider, state: Mutex::default() }
    }

    /// A token that is good at this time. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// Why there is none. It comes at once while it is too early to try again.
    pub(crate) async fn get(self: &Arc<Self>) -> Result<Held, TokenError> {
        let mut over = {
            let mut state = self.lock();
            let held = match state.step(Instant::now()) {
                Step::Take(outcome) => return outcome,
                Step::Fetch(held) => held,
            };
            let over = state.running().unwrap_or_else(|| self.start(&mut state));
            // A file is read in no time, and may hold something better.
            if let Some(held) = held.filter(|_| !self.provider.source.is_file()) {
                return Ok(held);
            }
            over
        };
        // The sender says nothing: it is dropped at the end.
        if tokio::time::timeout(PATIENCE, over.changed()).await.is_err() {
            let waited = PATIENCE.as_millis();
            return Err(self.provider.source.unavailable(format!("no answer yet after {waited} ms")));
        }
        match self.lock().step(Instant::now()) {
            Step::Take(outcome) => outcome,
            Step::Fetch(Some(held)) => Ok(held),
            Step::Fetch(None) => Err(self.provider.source.unavailable("the attempt was broken off")),
        }
    }

    /// A broker has refused the token of this generation.
    pub(crate) fn refused(&self, generation: u64) {
        let is_file = self.provider.source.is_file();
        self.lock().refused(generation, is_file, Instant::now());
    }

    /// The token as the client takes it for one connection. How long the connection may live is up to the broker.
    pub(crate) fn for_connection(&self, held: &Held) -> OAuthBearerToken {
        let extensions = self.provider.extensions.iter();
        extensions.fold(OAuthBearerToken::new(&*held.value), |token, (name, value)| {
            token.with_extension(name, value)
        })
    }

    /// A token for a client that comes back for another one by itself, when it must be renewed.
    pub(crate) async fn for_client(self: Arc<Self>) -> Result<OAuthBearerToken, KrafkaError> {
        let held = self.get().await.map_err(|e| KrafkaError::auth(e.to_string()))?;
        let left = held.renew_at.saturating_duration_since(Instant::now()).max(SHORTEST_TIME);
        let told = wall_clock() + left + CLIENTS_MARGIN;
        Ok(self.for_connection(&held).with_lifetime_ms(i64::try_from(told.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Fetches in a task of its own, because who waits for a token may give up before it comes.
    fn start(self: &Arc<Self>, state: &mut State) -> watch::Receiver<()> {
        let (running, over) = watch::channel(());
        state.fetching = Some(over.clone());
        let tokens = Arc::clone(self);
        tokio::spawn(async move {
            let asked = Instant::now();
            let outcome = tokens.provider.source.fetch().await;
            if let Err(error) = &outcome {
                tracing::debug!(%error, "no token");
            }
            let is_file = tokens.provider.source.is_file();
            tokens.lock().take(outcome, is_file, asked, Instant::now());
            drop(running);
        });
        over
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn step(&self, now: Instant) -> Step {
        let held = self.held.as_ref().filter(|held| held.ends_at.is_none_or(|end| now < end));
        if let Some(held) = held
            && now < held.renew_at
        {
            return Step::Take(Ok(held.clone()));
        }
        match (&self.failed, held) {
            (Some(failed), Some(held)) if now < failed.until => Step::Take(Ok(held.clone())),
            (Some(failed), None) if now < failed.until => Step::Take(Err(failed.error.clone())),
            _ => Step::Fetch(held.cloned()),
        }
    }

    /// The attempt that is under way. One that was broken off (its runtime is gone) is none.
    fn running(&self) -> Option<watch::Receiver<()>> {
        self.fetching.clone().filter(|over| over.has_changed().is_ok())
    }

    /// Takes in what an attempt has brought that was begun at `asked`.
    fn take(&mut self, outcome: Result<Fresh, TokenError>, is_file: bool, asked: Instant, now: Instant) {
        self.fetching = None;
        match outcome {
            Ok(fresh) => {
                self.failed = None;
                let time = fresh.valid_for.unwrap_or(UNKNOWN_TIME);
                let mut renew_after = (time - (time / 5).min(RENEW_BEFORE_END)).max(SHORTEST_TIME);
                if is_file {
                    renew_after = renew_after.min(READ_FILE_AGAIN);
                }
                let same = self.held.as_ref().filter(|held| *held.value == *fresh.value);
                let (generation, since) = match same {
                    Some(held) => (held.generation, held.since),
                    None => (self.generation + 1, now),
                };
                self.generation = self.generation.max(generation);
                self.held = Some(Held {
                    value: fresh.value.into(),
                    generation,
                    since,
                    renew_at: asked.checked_add(renew_after).unwrap_or(now + UNKNOWN_TIME),
                    ends_at: fresh.valid_for.and_then(|time| asked.checked_add(time)),
                });
            }
            Err(error) => {
                let longest = match error {
                    TokenError::Refused { .. } => LONGEST_REFUSED_PAUSE,
                    TokenError::Unavailable { .. } => LONGEST_UNAVAILABLE_PAUSE,
                };
                let pause = self.failed.as_ref().map_or(FIRST_PAUSE, |before| before.pause * 2).min(longest);
                self.failed = Some(Failed { error, pause, until: now + pause });
            }
        }
    }

    fn refused(&mut self, generation: u64, is_file: bool, now: Instant) {
        let replace = |held: &mut Held| {
            let is_old = now.duration_since(held.since) >= REPLACE_REFUSED_AFTER;
            held.generation == generation && (is_file || is_old)
        };
        self.held.take_if(replace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(value: &str, seconds: Option<u64>) -> Result<Fresh, TokenError> {
        Ok(Fresh { value: value.to_owned(), valid_for: seconds.map(Duration::from_secs) })
    }

    fn refused() -> Result<Fresh, TokenError> {
        Err(TokenError::Refused { at: "x".to_owned(), why: "no".to_owned() })
    }

    fn unavailable() -> Result<Fresh, TokenError> {
        Err(TokenError::Unavailable { at: "x".to_owned(), why: "down".to_owned() })
    }

    /// What is to be done `seconds` after the start.
    fn step(state: &State, start: Instant, seconds: u64) -> String {
        match state.step(start + Duration::from_secs(seconds)) {
            Step::Take(Ok(held)) => format!("take {}", held.value),
            Step::Take(Err(error)) => format!("fail: {error}"),
            Step::Fetch(Some(held)) => format!("fetch, {} meanwhile", held.value),
            Step::Fetch(None) => "fetch".to_owned(),
        }
    }

    #[test]
    fn a_token_is_kept_until_shortly_before_its_end() {
        let (mut state, start) = (State::default(), Instant::now());
        assert_eq!(step(&state, start, 0), "fetch");
        for (seconds, renewed, ended) in [(3600, 3540, 3600), (100, 80, 100), (1, 1, 1)] {
            state.take(fresh("t", Some(seconds)), false, start, start);
            assert_eq!(step(&state, start, renewed - 1), "take t");
            let meanwhile = if renewed < ended { "fetch, t meanwhile" } else { "fetch" };
            assert_eq!(step(&state, start, renewed), meanwhile);
            assert_eq!(step(&state, start, ended), "fetch");
        }
        state.take(fresh("t", None), false, start, start);
        assert_eq!(step(&state, start, 239), "take t");
        assert_eq!(step(&state, start, 100_000), "fetch, t meanwhile");
        state.take(fresh("t", Some(u64::MAX)), false, start, start);
        assert_eq!(step(&state, start, 100_000), "fetch, t meanwhile");
    }

    #[test]
    fn a_file_is_read_again_after_ten_seconds() {
        let (mut state, start) = (State::default(), Instant::now());
        state.take(fresh("t", Some(3600)), true, start, start);
        assert_eq!(step(&state, start, 9), "take t");
        assert_eq!(step(&state, start, 10), "fetch, t meanwhile");
        let first = state.generation;
        state.take(fresh("t", Some(3590)), true, start, start);
        assert_eq!(state.generation, first, "the same token again is nothing new");
        state.take(fresh("u", Some(3590)), true, start, start);
        assert!(state.generation > first);
    }

    #[test]
    fn a_failing_provider_is_asked_later_and_later() {
        let (mut state, start) = (State::default(), Instant::now());
        state.take(refused(), false, start, start);
        assert_eq!(step(&state, start, 1), "fail: x: no");
        assert_eq!(step(&state, start, 2), "fetch");
        for _ in 0..10 {
            state.take(refused(), false, start, start);
        }
        assert_eq!(
            (step(&state, start, 29), step(&state, start, 30)),
            ("fail: x: no".into(), "fetch".into())
        );
        for _ in 0..10 {
            state.take(unavailable(), false, start, start);
        }
        assert_eq!(
            (step(&state, start, 9), step(&state, start, 10)),
            ("fail: x: down".into(), "fetch".into())
        );
        state.take(fresh("t", Some(10)), false, start, start);
        state.take(unavailable(), false, start, start);
        assert_eq!(step(&state, start, 9), "fetch, t meanwhile");
        assert!(state.failed.is_some_and(|failed| failed.pause == FIRST_PAUSE));
    }

    #[test]
    fn a_token_outlives_a_failing_provider_until_its_end() {
        let (mut state, start) = (State::default(), Instant::now());
        state.take(fresh("t", Some(100)), false, start, start);
        state.take(unavailable(), false, start, start + Duration::from_secs(90));
        assert_eq!(step(&state, start, 91), "take t");
        assert_eq!(step(&state, start, 92), "fetch, t meanwhile");
        state.take(unavailable(), false, start, start + Duration::from_secs(99));
        assert_eq!(step(&state, start, 100), "fail: x: down");
    }

    #[test]
    fn a_refused_token_is_replaced_unless_it_is_new() {
        let (mut state, start) = (State::default(), Instant::now());
        state.take(fresh("t", Some(3600)), false, start, start);
        let generation = state.generation;
        state.refused(generation, false, start + Duration::from_secs(29));
        state.refused(generation + 1, false, start + Duration::from_secs(60));
        assert_eq!(step(&state, start, 60), "take t");
        state.refused(generation, false, start + Duration::from_secs(60));
        assert_eq!(step(&state, start, 60), "fetch");
    }

    #[test]
    fn a_file_with_a_refused_token_is_read_again_at_once() {
        let (mut state, start) = (State::default(), Instant::now());
        state.take(fresh("t", Some(3600)), true, start, start);
        state.refused(state.generation, true, start);
        assert_eq!(step(&state, start, 0), "fetch");
    }
}
