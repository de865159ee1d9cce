-- A ledger of schema 1, as the released program left it (`.dump`). Never changed.
BEGIN TRANSACTION;
CREATE TABLE accounts (
        account INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        line REAL,
        frontier REAL
    );
INSERT INTO "accounts" VALUES(1,'studio',1700000000.0,1700000012.0);
INSERT INTO "accounts" VALUES(2,'agency',1700000000.0,NULL);
CREATE TABLE counters (
        name TEXT NOT NULL,
        labels TEXT NOT NULL,            -- JSON list, the account first
        value REAL NOT NULL,
        appeared INTEGER NOT NULL,
        exemplar TEXT,                   -- JSON: workflow id, value, Unix seconds
        PRIMARY KEY (name, labels)
    ) WITHOUT ROWID;
INSERT INTO "counters" VALUES('discovered','["agency","listing"]',3.0,0,NULL);
INSERT INTO "counters" VALUES('discovered','["studio","configured"]',1.0,0,NULL);
INSERT INTO "counters" VALUES('discovered','["studio","listing"]',14.0,0,NULL);
INSERT INTO "counters" VALUES('discovered','["studio","pushed"]',1.0,0,NULL);
INSERT INTO "counters" VALUES('dropped','["studio","not_found"]',1.0,0,NULL);
INSERT INTO "counters" VALUES('failures','["agency","Knoten 日本","ValueError"]',1.0,2,'["00000000-0000-4000-8000-000000000001",1.0,1700000004.0]');
INSERT INTO "counters" VALUES('failures','["studio","Knoten 日本","ValueError"]',1.0,1,'["00000000-0000-4000-8000-000000000001",1.0,1700000003.0]');
INSERT INTO "counters" VALUES('finished','["agency","cancelled"]',1.0,0,'["00000000-0000-4000-8000-000000000002",1.0,1700000006.0]');
INSERT INTO "counters" VALUES('finished','["agency","completed"]',1.0,0,'["00000000-0000-4000-8000-000000000000",1.0,1700000002.0]');
INSERT INTO "counters" VALUES('finished','["agency","failed"]',1.0,0,'["00000000-0000-4000-8000-000000000001",1.0,1700000004.0]');
INSERT INTO "counters" VALUES('finished','["studio","cancelled"]',3.0,0,'["00000000-0000-4000-8000-00000000000a",1.0,1700000014.0]');
INSERT INTO "counters" VALUES('finished','["studio","completed"]',3.0,0,'["00000000-0000-4000-8000-000000000008",1.0,1700000012.0]');
INSERT INTO "counters" VALUES('finished','["studio","failed"]',3.0,0,'["00000000-0000-4000-8000-000000000009",1.0,1700000013.0]');
INSERT INTO "counters" VALUES('finished','["studio","invalid"]',3.0,0,'["00000000-0000-4000-8000-00000000000b",1.0,1700000015.0]');
INSERT INTO "counters" VALUES('ignored','["studio","unknown_status"]',1.0,0,NULL);
INSERT INTO "counters" VALUES('outputs','["agency"]',2.0,0,NULL);
INSERT INTO "counters" VALUES('outputs','["studio"]',6.0,0,NULL);
CREATE TABLE histograms (
        name TEXT NOT NULL,
        labels TEXT NOT NULL,
        bounds TEXT NOT NULL,            -- JSON list
        counts TEXT NOT NULL,            -- JSON list, one more than bounds
        sum REAL NOT NULL,
        exemplars TEXT NOT NULL,
        PRIMARY KEY (name, labels)
    ) WITHOUT ROWID;
INSERT INTO "histograms" VALUES('entry_queue_position','["agency"]','[1.0,5.0]','[1,2,0]',6.0,'[["00000000-0000-4000-8000-000000000000",1,1700000001.0],["00000000-0000-4000-8000-000000000002",3,1700000005.0],null]');
INSERT INTO "histograms" VALUES('entry_queue_position','["studio"]','[1.0,5.0]','[1,4,7]',78.0,'[["00000000-0000-4000-8000-000000000000",1,1700000000.0],["00000000-0000-4000-8000-000000000004",5,1700000007.0],["00000000-0000-4000-8000-00000000000b",12,1700000014.0]]');
INSERT INTO "histograms" VALUES('run_duration','["agency","cancelled"]','[10.0,60.0]','[0,1,0]',17.0,'[null,["00000000-0000-4000-8000-000000000002",17.0,1700000006.0],null]');
INSERT INTO "histograms" VALUES('run_duration','["agency","completed"]','[10.0,60.0]','[0,1,0]',17.0,'[null,["00000000-0000-4000-8000-000000000000",17.0,1700000002.0],null]');
INSERT INTO "histograms" VALUES('run_duration','["agency","failed"]','[10.0,60.0]','[0,1,0]',17.0,'[null,["00000000-0000-4000-8000-000000000001",17.0,1700000004.0],null]');
INSERT INTO "histograms" VALUES('run_duration','["studio","cancelled"]','[10.0,60.0]','[0,3,0]',51.0,'[null,["00000000-0000-4000-8000-00000000000a",17.0,1700000014.0],null]');
INSERT INTO "histograms" VALUES('run_duration','["studio","completed"]','[10.0,60.0]','[0,3,0]',51.0,'[null,["00000000-0000-4000-8000-000000000008",17.0,1700000012.0],null]');
INSERT INTO "histograms" VALUES('run_duration','["studio","failed"]','[10.0,60.0]','[0,3,0]',51.0,'[null,["00000000-0000-4000-8000-000000000009",17.0,1700000013.0],null]');
INSERT INTO "histograms" VALUES('run_duration','["studio","invalid"]','[10.0,60.0]','[0,3,0]',51.0,'[null,["00000000-0000-4000-8000-00000000000b",17.0,1700000015.0],null]');
INSERT INTO "histograms" VALUES('time_to_start','["agency"]','[1.0,10.0]','[0,3,0]',9.0,'[null,["00000000-0000-4000-8000-000000000002",4.0,1700000006.0],null]');
INSERT INTO "histograms" VALUES('time_to_start','["studio"]','[1.0,10.0]','[0,10,3]',98.0,'[null,["00000000-0000-4000-8000-000000000015",8.0,1700000015.0],["00000000-0000-4000-8000-00000000000b",13.0,1700000015.0]]');
CREATE TABLE marks (
        name TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) WITHOUT ROWID;
INSERT INTO "marks" VALUES('announced',2);
CREATE TABLE workflows (
        account INTEGER NOT NULL REFERENCES accounts,
        workflow BLOB NOT NULL,          -- the UUID's 16 bytes
        source TEXT NOT NULL,
        phase TEXT NOT NULL,
        run INTEGER NOT NULL,
        status TEXT,
        unknown_status TEXT,
        first_seen REAL NOT NULL,
        last_seen REAL,
        created_at REAL,
        started_at REAL,
        ended_at REAL,
        entered_queue INTEGER NOT NULL,
        waited INTEGER NOT NULL,         -- whether it was seen waiting
        start_wait REAL,
        start_observed INTEGER NOT NULL,
        outputs_counted INTEGER NOT NULL,
        cause_owed_since REAL,
        PRIMARY KEY (account, workflow)
    ) WITHOUT ROWID;
INSERT INTO "workflows" VALUES(1,X'00000000000040008000000000000000','listing','settled',1,'completed',NULL,1700000000.0,1700000001.0,1700000001.0,1700000003.0,1700000020.0,1,1,NULL,1,1,NULL);
INSERT INTO "workflows" VALUES(1,X'00000000000040008000000000000001','listing','settled',1,'failed',NULL,1700000002.0,1700000003.0,1700000001.0,1700000004.0,1700000021.0,1,1,NULL,1,0,NULL);
INSERT INTO "workflows" VALUES(1,X'00000000000040008000000000000002','listing','settled',1,'cancelled',NULL,1700000004.0,1700000005.0,1700000001.0,1700000005.0,1700000022.0,1,1,NULL,1,0,NULL);
INSERT INTO "workflows" VALUES(1,X'00000000000040008000000000000003','listing','settled',1,'invalid',NULL,1700000006.0,1700000007.0,1700000001.0,1700000006.0,1700000023.0,1,1,NULL,1,0,NULL);
INSERT INTO "workflows" VALUES(1,X'00000000000040008000000000000004','listing','settled',1,'completed',NULL,1700000007.0,1700000008.0,1700000001.0,1700000007.0,1700000024.0,1,1,NULL,1,1,NULL);
INSERT INTO "workflows" VALUES(1,X'00000000000040008000000000000005','listing','settled',1,'failed',NULL,1700000008.0,1700000009.0,1700000001.0,1700000008.0,1700000025.0,1,1,NULL,1,0,1700000009.0);
INSERT INTO "workflows" VALUES(1,X'00000000000040008000000000000006','listing','settled',1,'cancelled',NULL,1700000009.0,1700000010.0,1700000001.0,1700000009.0,1700000026.0,1,1,NULL,1,0,NULL);
INSERT INTO "workflows" VALUES(1,X'00000000000040008000000000000007','listing','settled',1,'invalid',NULL,1700000010.0,1700000011.0,1700000001.0,1700000010.0,1700000027.0,1,1,NULL,1,0,NULL);
INSERT INTO "workflows" VALUES(1,X'00000000000040008000000000000008','listing','settled',1,'completed',NULL,1700000011.0,1700000012.0,1700000001.0,1700000011.0,1700000028.0,1,1,NULL,1,1,NULL);
INSERT INTO "workflows" VALUES(1,X'00000000000040008000000000000009','listing','settled',1,'failed',NULL,1700000012.0,1700000013.0,1700000001.0,1700000012.0,1700000029.0,1,1,NULL,1,0,1700000013.0);
INSERT INTO "workflows" VALUES(1,X'0000000000004000800000000000000A','listing','settled',1,'cancelled',NULL,1700000013.0,1700000014.0,1700000001.0,1700000013.0,1700000030.0,1,1,NULL,1,0,NULL);
INSERT INTO "workflows" VALUES(1,X'0000000000004000800000000000000B','listing','settled',1,'invalid',NULL,1700000014.0,1700000015.0,1700000001.0,1700000014.0,1700000031.0,1,1,NULL,1,0,NULL);
INSERT INTO "workflows" VALUES(1,X'00000000000040008000000000000014','pushed','open',1,NULL,NULL,1700000015.0,NULL,NULL,NULL,NULL,0,0,NULL,0,0,NULL);
INSERT INTO "workflows" VALUES(1,X'00000000000040008000000000000015','listing','open',1,'running',NULL,1700000015.0,1700000015.0,1700000001.0,1700000009.0,NULL,0,0,NULL,1,0,NULL);
INSERT INTO "workflows" VALUES(1,X'00000000000040008000000000000016','listing','open',1,NULL,'dreaming',1700000015.0,1700000015.0,1700000001.0,NULL,NULL,0,0,NULL,0,0,NULL);
INSERT INTO "workflows" VALUES(1,X'00000000000040008000000000000017','configured','dropped',1,NULL,NULL,1700000015.0,NULL,NULL,NULL,1700000015.0,0,0,NULL,0,0,NULL);
INSERT INTO "workflows" VALUES(2,X'00000000000040008000000000000000','listing','settled',1,'completed',NULL,1700000001.0,1700000002.0,1700000001.0,1700000003.0,1700000020.0,1,1,NULL,1,1,NULL);
INSERT INTO "workflows" VALUES(2,X'00000000000040008000000000000001','listing','settled',1,'failed',NULL,1700000003.0,1700000004.0,1700000001.0,1700000004.0,1700000021.0,1,1,NULL,1,0,NULL);
INSERT INTO "workflows" VALUES(2,X'00000000000040008000000000000002','listing','settled',1,'cancelled',NULL,1700000005.0,1700000006.0,1700000001.0,1700000005.0,1700000022.0,1,1,NULL,1,0,NULL);
CREATE INDEX unsettled ON workflows (account)
        WHERE phase = 'open' OR cause_owed_since IS NOT NULL;
CREATE INDEX created ON workflows (account, created_at);
CREATE INDEX ended ON workflows (account, ended_at) WHERE phase != 'open';
COMMIT;
PRAGMA user_version = 1;
