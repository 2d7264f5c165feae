//! The suite that every [`Store`] must pass. Run it on yours:
//!
//! ```
//! use std::sync::Arc;
//!
//! use centralita::store::conformance::Harness;
//! use centralita::store::{MemoryStore, Store};
//!
//! /// Where the data of one test is; here it is a store of this crate that plays yours.
//! struct MyHarness(Arc<MemoryStore>);
//!
//! impl MyHarness {
//!     async fn fresh() -> Self {
//!         Self(Arc::new(MemoryStore::new()))
//!     }
//! }
//!
//! #[async_trait::async_trait]
//! impl Harness for MyHarness {
//!     async fn open(&self) -> Arc<dyn Store> {
//!         Arc::clone(&self.0) as Arc<dyn Store>
//!     }
//! }
//!
//! // One `#[tokio::test]` for each rule, in a module `my_store`. The expression is evaluated for each, and may await.
//! centralita::store_conformance!(my_store, MyHarness::fresh().await);
//! # fn main() {}
//! ```
//!
//! The crate that invokes the macro needs `tokio` with `macros` and `rt-multi-thread`. Each rule is also a plain
//! function (`auth::values_come_back_as_written(&store)`), which panics where the store breaks it and expects
//! the store to be empty.

// A rule panics where a store breaks it: that is what it is for.
#![allow(clippy::unwrap_used)]

pub mod auth;
pub mod batches;
pub mod chats;
pub mod consumers;
pub mod event_log;
pub mod fence;
pub mod leases;
pub mod lists;
pub mod messages;
pub mod outbox;
pub mod pages;
pub mod reopen;
pub mod samples;
pub mod sessions;

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt as _;

use super::Store;

/// Where the data of one test lives.
#[async_trait]
pub trait Harness: Send + Sync {
    /// Opens the store. A later call, after the store before was closed, must find the same data.
    async fn open(&self) -> Arc<dyn Store>;

    /// Whether data outlive the store. If not, the rules about reopening are not checked.
    fn can_reopen(&self) -> bool {
        true
    }

    /// Removes the data. Called after every test, a failed one included.
    async fn clean_up(&self) {}
}

/// Runs one rule on a fresh harness and cleans up, whatever came of it.
pub async fn run<F>(harness: &dyn Harness, rule: F)
where
    F: Future<Output = ()>,
{
    let outcome = AssertUnwindSafe(rule).catch_unwind().await;
    harness.clean_up().await;
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// Makes a module of `#[tokio::test]`s, one for each rule of the
/// [conformance suite](crate::store::conformance), on the [`Harness`](crate::store::conformance::Harness) that
/// the expression gives.
#[macro_export]
macro_rules! store_conformance {
    ($name:ident, $harness:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $crate::store_conformance! { @rules $harness;
                auth {
                    nothing_is_there_at_first
                    values_come_back_as_written
                    lists_are_ordered_by_the_bytes_of_the_id
                    loading_leaves_out_the_kinds_named
                    many_states_are_loaded_as_one_by_one
                    credentials_are_kept_beside_the_values
                    any_text_is_an_id
                    ids_that_join_alike_are_different
                    values_may_be_empty_or_large
                    prefixes_are_plain_text
                    only_old_stamps_are_deleted
                    deleting_takes_all_of_one_session_and_nothing_else
                    an_archive_empties_the_session
                }
                batches {
                    an_empty_batch_is_fine
                    batches_of_many_sessions_go_together
                    one_refusal_holds_up_no_other
                    a_repeated_batch_changes_nothing
                    a_batch_equals_its_statements_one_by_one
                    a_large_batch_is_written_whole
                    many_sessions_write_at_once
                }
                fence {
                    a_stale_write_is_refused
                    stale_credentials_are_refused
                    a_stale_delete_is_refused
                    a_batch_of_stale_deletes_alone_is_refused
                    rows_below_the_fence_are_absent
                    fencing_keeps_what_was_there_and_shuts_out_the_old_owner
                    a_ghost_is_not_brought_back_by_the_next_fence
                    a_stale_owner_deletes_and_archives_nothing
                    a_stale_owner_deletes_no_newer_stamps
                }
                leases {
                    the_first_owner_gets_the_first_generation
                    a_held_lease_is_not_given_away
                    the_owner_gets_it_again_unchanged
                    a_released_lease_passes_without_a_fence
                    an_expired_lease_is_stolen_with_a_fence
                    an_expired_lease_that_nobody_stole_is_renewed
                    a_robbed_owner_can_do_nothing
                    renewals_answer_in_order
                    of_many_at_once_one_gets_it
                    of_many_thieves_one_gets_it
                    many_leases_are_acquired_as_one_by_one
                    held_sessions_are_those_held_now
                    leases_are_forgotten_when_idle_and_without_a_session
                    any_text_is_a_session
                    the_database_has_a_clock
                }
                sessions {
                    a_fresh_record_is_inserted_once
                    a_patch_sets_every_field
                    an_empty_patch_changes_nothing_but_the_time
                    activity_only_rises
                    counters_are_exact_under_concurrency
                    a_patch_of_nothing_is_none
                    a_conditional_patch_needs_the_status
                    of_many_conditional_patches_one_wins
                    changes_by_status_take_the_case_that_fits
                    any_text_is_a_session_id
                    every_status_detail_comes_back
                    a_deleted_record_is_gone
                }
                lists {
                    filters_match_what_they_say
                    pages_are_complete_and_ordered
                    a_bad_page_request_is_refused
                    statistics_add_up
                }
                messages {
                    a_message_comes_back_as_recorded
                    a_redelivery_counts_once
                    twice_in_one_call_counts_once
                    counters_follow_direction_and_history
                    the_same_id_elsewhere_is_another_message
                    any_text_is_a_message_key
                    a_status_never_falls
                    edits_and_revocations_end_alike_in_any_order
                    an_older_edit_is_ignored
                    changes_of_what_is_not_there_are_none
                    two_changes_of_one_message_both_count
                    recounting_mends_the_counters
                    concurrent_deliveries_count_once
                    recording_many_equals_recording_one_by_one
                    changing_many_equals_changing_one_by_one
                    without_a_session_record_messages_are_kept
                    deleting_takes_all_of_one_session_and_nothing_else
                }
                pages {
                    messages_come_newest_first_and_complete
                    messages_of_one_second_come_in_order_of_arrival
                    a_page_stays_right_while_messages_arrive
                    chats_come_newest_first_and_complete
                    a_bad_page_request_is_refused
                }
                event_log {
                    numbers_rise_by_one
                    an_event_comes_back_as_logged
                    a_key_is_logged_once
                    a_stale_number_does_no_harm
                    two_owners_at_once_lose_nothing
                    any_text_is_a_session_or_a_key
                    trimming_keeps_the_newest_of_the_number
                    trimming_by_age_makes_no_hole
                    deleting_takes_all_of_one_session_and_nothing_else
                    a_change_makes_the_revision_rise
                    random_calls_agree_with_a_model
                }
                consumers {
                    a_consumer_is_registered_once
                    a_position_never_goes_back
                    a_deleted_consumer_is_gone
                    any_text_is_a_consumer_or_a_session
                    a_dead_letter_comes_back_as_put
                    dead_letters_are_replayed_and_removed_as_chosen
                    dead_letters_come_in_pages
                }
                chats {
                    a_patch_creates_and_changes
                    new_chats_are_counted_once
                    names_are_set_where_a_chat_is
                    reading_clears_what_is_unread
                    the_newest_message_decides_the_time
                }
                outbox {
                    an_entry_comes_back_as_pushed
                    entries_are_listed_in_the_order_of_pushing
                    the_same_message_is_pushed_once
                    a_full_outbox_takes_nothing
                    many_push_at_once
                    steps_move_an_entry
                    a_claim_and_a_cancel_exclude_each_other
                    a_late_owner_is_refused
                    the_backlog_names_sessions_with_entries
                    deleting_takes_all_entries_of_one_session
                    any_text_is_a_message_id
                    steps_follow_the_rule
                }
            }

            mod reopen {
                #[allow(unused_imports)]
                use super::*;

                $crate::store_conformance! { @reopen $harness;
                    everything_is_there_after_reopening
                    a_closed_store_says_so
                }
            }
        }
    };
    (@rules $harness:expr; $($module:ident { $($rule:ident)+ })+) => {
        $(mod $module {
            #[allow(unused_imports)]
            use super::*;

            $(#[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                let harness = $harness;
                $crate::store::conformance::run(&harness, async {
                    let store = $crate::store::conformance::Harness::open(&harness).await;
                    $crate::store::conformance::$module::$rule(&*store).await;
                    store.close().await.expect("a store can be closed");
                })
                .await;
            })+
        })+
    };
    (@reopen $harness:expr; $($rule:ident)+) => {
        $(#[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $rule() {
            let harness = $harness;
            $crate::store::conformance::run(&harness, $crate::store::conformance::reopen::$rule(&harness)).await;
        })+
    };
}
