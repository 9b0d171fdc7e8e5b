//! The SQL of a job: its statements, the window forms of four dialects, and the session that
//! plans them. It makes logical plans; what is done with them is decided in `plan/`.

mod clause;
mod error;
mod field_path;
#[cfg(test)]
mod fixture;
mod folder_value;
mod interval;
mod nesting;
mod not_done;
mod own_columns;
mod pane_function;
mod partition_by;
mod plan_size;
mod repeated_names;
mod reword;
mod rewrite;
mod script;
mod second_meaning;
mod session;
mod struct_function;
mod three_values;
mod values;
mod window_call;
mod window_function;
mod window_node;
mod window_relation;
mod window_shape;
mod windows;

pub use clause::{Clause, Refusal};
pub use error::{SqlError, planner_message};
pub use field_path::{field_of, field_path, with_column};
pub use folder_value::{folder_value_expr, may_be_no_folder};
pub use interval::{interval_spoken, interval_us, with_intervals_spoken};
pub use nesting::check_nesting;
pub use own_columns::with_own_columns;
pub use pane_function::{pane_functions, pane_start_expr, start_of_mark_expr, window_starts_expr};
pub use plan_size::check_plan_size;
pub use repeated_names::physical_rules;
pub use script::{JobStatement, StatementKind, parse_script};
pub use second_meaning::with_meanings_apart;
pub use session::{
    SessionSettings, at_clock, register_functions, register_plan_functions, session_state,
};
pub use struct_function::window_struct;
pub use three_values::with_three_values;
pub use values::{ValueRule, canonical_batch, function_spoken, holds_float, is_bare_function};
pub use window_function::{
    WINDOW_FUNCTIONS, WindowKey, WindowValue, calls_window_function, is_utc, strip, window_key,
    window_struct_fields,
};
pub use window_node::{WINDOW_END, WINDOW_START, WINDOW_TIME, WindowNode, time_type};
pub use window_shape::WindowShape;
pub use windows::{SessionShape, Windows};
