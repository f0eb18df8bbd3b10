-- +goose NO TRANSACTION
-- +goose Up
-- LangGraph-Go's table as persistd wants it; one that is there already is taken over by migration 13.
CREATE TABLE IF NOT EXISTS idempotency_keys (
    key_value VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
    created_at TIMESTAMP(6) NULL DEFAULT CURRENT_TIMESTAMP(6),
    run_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '',
    step_id INT NOT NULL DEFAULT 0,
    content_hash BINARY(32) NULL,
    log_seq BIGINT UNSIGNED NOT NULL DEFAULT 0,
    log_gen INT UNSIGNED NOT NULL DEFAULT 0,
    KEY idx_created (created_at),
    KEY idx_run (run_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
