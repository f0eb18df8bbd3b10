-- +goose NO TRANSACTION
-- +goose Up
-- LangGraph-Go's table as persistd wants it; one that is there already is taken over by migration 14.
CREATE TABLE IF NOT EXISTS events_outbox (
    id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
    run_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    event_data JSON NOT NULL,
    emitted_at TIMESTAMP(6) NULL,
    created_at TIMESTAMP(6) NULL DEFAULT CURRENT_TIMESTAMP(6),
    ord BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
    leased_until DATETIME(6) NULL,
    lease_holder VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT '',
    log_seq BIGINT UNSIGNED NOT NULL DEFAULT 0,
    log_gen INT UNSIGNED NOT NULL DEFAULT 0,
    UNIQUE KEY unique_ord (ord),
    KEY idx_pending (emitted_at, ord),
    KEY idx_run_id (run_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
