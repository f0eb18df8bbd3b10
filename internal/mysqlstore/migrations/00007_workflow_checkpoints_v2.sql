-- +goose NO TRANSACTION
-- +goose Up
-- LangGraph-Go's table as persistd wants it; one that is there already is taken over by migration 12.
CREATE TABLE IF NOT EXISTS workflow_checkpoints_v2 (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    run_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    step_id INT NOT NULL,
    state JSON NOT NULL,
    frontier JSON NOT NULL,
    rng_seed BIGINT NOT NULL,
    recorded_ios JSON NOT NULL,
    idempotency_key VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    timestamp DATETIME(6) NOT NULL COMMENT 'UTC',
    label VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL DEFAULT '',
    created_at TIMESTAMP(6) NULL DEFAULT CURRENT_TIMESTAMP(6),
    log_seq BIGINT UNSIGNED NOT NULL DEFAULT 0,
    log_gen INT UNSIGNED NOT NULL DEFAULT 0,
    attempt INT UNSIGNED NOT NULL DEFAULT 0,
    UNIQUE KEY unique_run_step (run_id, step_id),
    KEY idx_label (run_id, label)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
