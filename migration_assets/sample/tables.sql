-- The tables of the sample application, as its authors would have written them for SQLite.
CREATE TABLE currencies (
    code CHAR(3) NOT NULL PRIMARY KEY,
    name VARCHAR(40) NOT NULL,
    minor_units SMALLINT NOT NULL DEFAULT 2
) WITHOUT ROWID;

CREATE TABLE exchanges (
    code VARCHAR(8) NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    country CHAR(2) NOT NULL,
    time_zone VARCHAR(40) NOT NULL,
    opens_at TIME NOT NULL,
    closes_at TIME NOT NULL
) WITHOUT ROWID;

CREATE TABLE instruments (
    id INTEGER PRIMARY KEY,
    exchange_code VARCHAR(8) NOT NULL REFERENCES exchanges (code) ON UPDATE CASCADE,
    symbol VARCHAR(12) NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('share', 'fund', 'bond', 'currency')),
    currency_code CHAR(3) NOT NULL REFERENCES currencies (code),
    tick_size DECIMAL(10, 4) NOT NULL DEFAULT 0.01,
    listed_on DATE,
    is_tracked BOOLEAN NOT NULL DEFAULT 1,
    external_ref STRING,
    successor_id INTEGER REFERENCES instruments (id) ON DELETE SET NULL,
    attributes JSON NOT NULL DEFAULT '{}' CHECK (json_valid(attributes)),
    UNIQUE (exchange_code, symbol)
);

CREATE TABLE users (
    id CHAR(36) NOT NULL PRIMARY KEY,
    email VARCHAR(255) NOT NULL COLLATE NOCASE UNIQUE,
    display_name VARCHAR(40) NOT NULL,
    password_hash BLOB NOT NULL,
    is_active BOOLEAN NOT NULL DEFAULT 1,
    preferences JSON NOT NULL DEFAULT '{}',
    created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
    last_seen_at DATETIME
);

CREATE TABLE api_keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id CHAR(36) NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    label VARCHAR(40) NOT NULL,
    key_hash BLOB NOT NULL UNIQUE CHECK (length(key_hash) = 32),
    scopes JSON NOT NULL DEFAULT '["read"]',
    is_revoked BOOLEAN NOT NULL DEFAULT 0,
    created_at DATETIME NOT NULL,
    expires_at DATETIME
);

CREATE TABLE watchlists (
    id CHAR(36) NOT NULL PRIMARY KEY,
    user_id CHAR(36) NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name VARCHAR(60) NOT NULL,
    is_default BOOLEAN NOT NULL DEFAULT 0,
    created_at DATETIME NOT NULL,
    UNIQUE (user_id, name)
);

CREATE TABLE watchlist_items (
    watchlist_id CHAR(36) NOT NULL REFERENCES watchlists (id) ON DELETE CASCADE,
    instrument_id INTEGER NOT NULL REFERENCES instruments (id),
    position INTEGER NOT NULL CHECK (position > 0),
    note TEXT,
    added_on DATE NOT NULL,
    PRIMARY KEY (watchlist_id, instrument_id)
) WITHOUT ROWID;

CREATE TABLE capture_schedules (
    id INTEGER PRIMARY KEY,
    instrument_id INTEGER NOT NULL REFERENCES instruments (id) ON DELETE CASCADE,
    cron VARCHAR(40) NOT NULL DEFAULT '*/15 * * * *',
    is_enabled BOOLEAN NOT NULL DEFAULT 1,
    retries TINYINT NOT NULL DEFAULT 3 CHECK (retries BETWEEN 0 AND 10),
    next_run_at DATETIME,
    config JSON,
    UNIQUE (instrument_id, cron)
);

CREATE TABLE price_captures (
    id INTEGER PRIMARY KEY,
    instrument_id INTEGER NOT NULL REFERENCES instruments (id),
    schedule_id INTEGER REFERENCES capture_schedules (id) ON DELETE SET NULL,
    captured_at DATETIME NOT NULL,
    price DECIMAL(14, 4) NOT NULL CHECK (price >= 0),
    spread REAL,
    volume INTEGER,
    is_suspect BOOLEAN NOT NULL DEFAULT 0,
    provider TEXT NOT NULL DEFAULT 'primary'
);

CREATE TABLE daily_prices (
    instrument_id INTEGER NOT NULL REFERENCES instruments (id),
    day DATE NOT NULL,
    open DECIMAL(14, 4) NOT NULL,
    high DECIMAL(14, 4) NOT NULL,
    low DECIMAL(14, 4) NOT NULL,
    close DECIMAL(14, 4) NOT NULL,
    volume BIGINT NOT NULL,
    PRIMARY KEY (instrument_id, day),
    CHECK (low <= open AND low <= close AND high >= open AND high >= close)
) WITHOUT ROWID;

CREATE TABLE daily_predictions (
    instrument_id INTEGER NOT NULL,
    day DATE NOT NULL,
    model VARCHAR(20) NOT NULL,
    predicted DECIMAL(14, 4) NOT NULL,
    confidence REAL NOT NULL CHECK (confidence >= 0 AND confidence <= 1),
    error_bound REAL,
    features JSON NOT NULL,
    PRIMARY KEY (instrument_id, day, model),
    FOREIGN KEY (instrument_id, day) REFERENCES daily_prices (instrument_id, day)
        DEFERRABLE INITIALLY DEFERRED
);

CREATE TABLE alerts (
    id CHAR(36) NOT NULL PRIMARY KEY,
    watchlist_id CHAR(36) NOT NULL,
    instrument_id INTEGER NOT NULL,
    direction TEXT NOT NULL CHECK (direction IN ('above', 'below')),
    threshold DECIMAL(14, 4) NOT NULL,
    is_active BOOLEAN NOT NULL DEFAULT 1,
    created_at DATETIME NOT NULL,
    FOREIGN KEY (watchlist_id, instrument_id)
        REFERENCES watchlist_items (watchlist_id, instrument_id) ON DELETE CASCADE
);

CREATE TABLE notifications (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    alert_id CHAR(36) NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    channel TEXT NOT NULL CHECK (channel IN ('mail', 'push', 'webhook')),
    sent_at DATETIME NOT NULL,
    is_delivered BOOLEAN NOT NULL DEFAULT 0,
    payload JSON
);

CREATE TABLE job_definitions (
    name VARCHAR(40) NOT NULL PRIMARY KEY,
    description TEXT,
    cron VARCHAR(40),
    timeout_seconds INTEGER NOT NULL DEFAULT 300,
    parameters JSON NOT NULL DEFAULT '{}'
);

CREATE TABLE job_runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_name VARCHAR(40) NOT NULL REFERENCES job_definitions (name) ON UPDATE CASCADE,
    status TEXT NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'succeeded', 'failed')),
    started_at DATETIME NOT NULL,
    finished_at DATETIME,
    rows_written INTEGER,
    seconds DOUBLE,
    label TEXT GENERATED ALWAYS AS (job_name || ' #' || id) VIRTUAL
);

CREATE TABLE job_logs (
    run_id INTEGER NOT NULL REFERENCES job_runs (id) ON DELETE CASCADE,
    line INTEGER NOT NULL,
    level VARCHAR(8) NOT NULL DEFAULT 'info',
    message TEXT NOT NULL,
    logged_at DATETIME NOT NULL,
    PRIMARY KEY (run_id, line)
);

CREATE TABLE attachments (
    id CHAR(36) NOT NULL PRIMARY KEY,
    run_id INTEGER NOT NULL REFERENCES job_runs (id) ON DELETE CASCADE,
    file_name VARCHAR(120) NOT NULL,
    media_type TEXT NOT NULL,
    content BLOB NOT NULL,
    size INTEGER NOT NULL,
    CHECK (size = length(content))
);

CREATE TABLE settings (
    name TEXT NOT NULL PRIMARY KEY,
    value,
    updated_at DATETIME
) WITHOUT ROWID;
