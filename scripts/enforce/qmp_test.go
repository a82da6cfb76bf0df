package enforce

import (
	"encoding/json"
	"errors"
	"net"
	"regexp"
	"strconv"
	"time"
)

// qmp is QEMU's own control channel.
type qmp struct {
	v       *vm
	conn    net.Conn
	answers chan message
	stops   chan struct{} // holds something if the guest was stopped since somebody looked
}

// message is what QEMU says: an answer, an error or an event.
type message struct {
	Return json.RawMessage
	Error  *struct{ Desc string }
	Event  string
}

func newQMP(v *vm, conn net.Conn) *qmp {
	q := &qmp{v: v, conn: conn, answers: make(chan message, 1), stops: make(chan struct{}, 1)}
	go q.read()
	q.do("qmp_capabilities", nil)
	return q
}

// read sorts answers from events.
func (q *qmp) read() {
	defer close(q.answers)
	dec := json.NewDecoder(q.conn)
	for {
		var m message
		if dec.Decode(&m) != nil {
			return
		}
		switch {
		case m.Event == "STOP":
			select {
			case q.stops <- struct{}{}:
			default:
			}
		case m.Return != nil || m.Error != nil:
			q.answers <- m
		}
	}
}

// ask executes a command.
func (q *qmp) ask(command string, arguments any) (json.RawMessage, error) {
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	q.conn.SetWriteDeadline(time.Now().Add(hostLimit))
	if err := json.NewEncoder(q.conn).Encode(request); err != nil {
		return nil, err
	}
	select {
	case m, ok := <-q.answers:
		if !ok {
			return nil, errors.New("QEMU has hung up")
		}
		if m.Error != nil {
			return nil, errors.New(m.Error.Desc)
		}
		return m.Return, nil
	case <-time.After(hostLimit):
		return nil, errors.New("no answer")
	}
}

// do executes a command that must succeed.
func (q *qmp) do(command string, arguments any) json.RawMessage {
	q.v.t.Helper()
	answer, err := q.ask(command, arguments)
	if err != nil {
		q.v.fatal("QMP %s: %v", command, err)
	}
	return answer
}

// frozen tells whether the guest does not run at this moment.
func (v *vm) frozen() bool {
	v.t.Helper()
	var status struct{ Running bool }
	if err := json.Unmarshal(v.qmp.do("query-status", nil), &status); err != nil {
		v.fatal("query-status: %v", err)
	}
	return !status.Running
}

// awaitFrozen waits until the guest does not run: for times when nobody would let it go on.
func (v *vm) awaitFrozen() {
	v.t.Helper()
	timeout := time.After(commandLimit)
	for !v.frozen() {
		select {
		case <-v.qmp.stops:
		case <-v.exited:
			v.fatal("QEMU ended instead of freezing the guest")
		case <-timeout:
			v.fatal("the guest does not freeze")
		}
	}
}

// cont is what an operator may try on a frozen guest.
func (v *vm) cont() { v.t.Helper(); v.qmp.do("cont", nil) }

// monitor executes a command of QEMU's monitor for people.
func (v *vm) monitor(command string) string {
	v.t.Helper()
	var text string
	if err := json.Unmarshal(v.qmp.do("human-monitor-command", map[string]string{"command-line": command}), &text); err != nil {
		v.fatal("monitor: %s: %v", command, err)
	}
	return text
}

// flushes counts how often QEMU threw its translated code away.
func (v *vm) flushes() int {
	v.t.Helper()
	text := v.monitor("info jit")
	m := regexp.MustCompile(`TB flush count +(\d+)`).FindStringSubmatch(text)
	if m == nil {
		v.fatal("info jit says no flush count: %s", text)
	}
	n, _ := strconv.Atoi(m[1])
	return n
}
