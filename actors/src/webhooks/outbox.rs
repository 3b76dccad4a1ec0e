//! `outbox.db`: how far each endpoint is, its deliveries and their attempts.
