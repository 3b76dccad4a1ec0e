//! Websocket frames.

mod fragments;
mod frame_rules;
