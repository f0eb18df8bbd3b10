package main

import (
	"fmt"

	"github.com/persistd/persistd/internal/config"
)

const nothing = "nothing that was acknowledged"

// outcomes say what each failure costs in this setup.
func (s *setup) outcomes() []outcome {
	if !s.log {
		return []outcome{{"anything", unknown, "there is no log yet, or it could not be looked at"}}
	}
	var broken []outcome
	if s.broken > 0 {
		broken = append(broken, outcome{"anything", failed, "settings of the log break its promises: what follows holds once they are mended"})
	}
	return append(broken, []outcome{
		{"a worker dies", fine, nothing + "; a step whose save was not answered may or may not be there"},
		s.daemonDies(),
		{"a nats-server's process dies", fine, nothing + cmpText(s.replicated(), "; the others go on within seconds", "; saves and reads wait until it is back")},
		s.powerCut(),
		s.powerCutOfAll(),
		s.serverLost(),
		s.databaseDies(),
		s.databasePower(),
		s.databaseLost(),
	}...)
}

func (s *setup) replicated() bool { return s.copies >= 3 }

func (s *setup) daemonDies() outcome {
	o := outcome{"a persistd replica dies", fine, nothing}
	switch {
	case s.replicas > 1:
		o.Costs += fmt.Sprintf("; another has its partitions within the lease, %s", s.cfg.Lease.Duration)
	default:
		o.Level = warn
		o.Costs += "; no commits and no reads until one runs again"
	}
	return o
}

func (s *setup) upToInterval() string {
	if s.interval > 0 {
		return "acknowledged events of up to " + s.interval.String()
	}
	return "acknowledged events of as long as sync_interval says, 2 minutes by default"
}

func (s *setup) powerCut() outcome {
	o := outcome{Failure: "power cut of one NATS machine", Level: fine, Costs: nothing}
	switch {
	case s.synced == syncAlways:
	case s.replicated():
		o.Level = warn
		o.Costs += ", unless another of the three is behind or away just then (and sync_interval is not always)"
	case s.synced == syncUnknown:
		o.Level, o.Costs = unknown, "unless sync_interval is always: "+s.upToInterval()
	default:
		o.Level, o.Costs = failed, s.upToInterval()
	}
	return o
}

func (s *setup) powerCutOfAll() outcome {
	o := outcome{Failure: "power cut of all NATS machines", Level: fine, Costs: nothing}
	switch s.synced {
	case syncAlways:
	case syncUnknown:
		o.Level, o.Costs = unknown, "unless sync_interval is always: "+s.upToInterval()
	case syncNever:
		o.Level, o.Costs = failed, s.upToInterval()
		if s.replicated() {
			o.Level = warn
		}
	}
	return o
}

func (s *setup) serverLost() outcome {
	if s.replicated() {
		return outcome{"loss of a NATS server with its disk", fine, nothing}
	}
	return outcome{"loss of a NATS server with its disk", warn, "what was acknowledged and is not in MySQL yet: the lag, milliseconds while MySQL keeps up"}
}

func (s *setup) window() string {
	if s.replays == 0 {
		return "nothing is applied again: stream.replay_window is 0"
	}
	return fmt.Sprintf("the log applies again what was committed in the last %s", config.ShowDuration(s.replays))
}

func (s *setup) databaseDies() outcome {
	o := outcome{"the database's process dies", fine, nothing}
	switch {
	case !s.database:
		return outcome{"the database fails", unknown, "it could not be looked at"}
	case s.nodes >= 3:
		o.Costs += "; another node goes on within seconds"
	default:
		o.Costs += "; saves go on, reads wait until it is back"
	}
	return o
}

func (s *setup) databasePower() outcome {
	o := outcome{"power cut of the database's machine", fine, nothing}
	switch {
	case !s.database:
		o.Level, o.Costs = unknown, "it could not be looked at"
	case s.nodes >= 3:
		o.Costs += ": two other nodes have it"
	case !s.flushed:
		o.Costs += ": commits of about a second are undone, and " + s.window()
		if s.replays == 0 {
			o.Level, o.Costs = failed, "commits of about a second, and "+s.window()
		}
	}
	return o
}

func (s *setup) databaseLost() outcome {
	o := outcome{"loss of a database server with its disk", fine, nothing}
	switch {
	case !s.database:
		o.Level, o.Costs = unknown, "it could not be looked at"
	case s.nodes >= 3:
		o.Costs += ": two other nodes have it"
	case s.replays == 0:
		o.Level, o.Costs = failed, "what was committed since the backup: "+s.window()
	default:
		o.Level, o.Costs = warn, "after a restore from a backup "+s.window()+"; what is older than that, and newer than the backup, is lost"
	}
	return o
}
