package xen

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmseal/vmseal/enforcer/guest"
	"golang.org/x/sys/unix"
)

// A guardian is a separate process that guards a domain, so that it can be killed. It executes
// commands one after the other and returns the result of each.
type guardian struct {
	t   *testing.T
	cmd *exec.Cmd
	in  *json.Encoder
	out *json.Decoder
}

// task tells a guardian what to do. It is passed as JSON in the environment.
type task struct {
	Domain             string
	Fresh              bool
	Hold, Hook, Upcall uint64
	Code               []byte
}

const taskVariable = "VMSEAL_XEN_TASK"

// Commands to a guardian.
const (
	commandRun  = "run"  // run until the next hit
	commandPass = "pass" // let the function of the last hit run
	commandDeny = "deny" // answer for it
)

// TestMain runs a guardian if a test has started this program as one.
func TestMain(m *testing.M) {
	text := os.Getenv(taskVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	var k task
	err := json.Unmarshal([]byte(text), &k)
	if err == nil {
		err = k.guard()
	}
	fmt.Fprintln(os.Stderr, "guardian:", err)
	os.Exit(1)
}

func (k *task) guard() error {
	g, err := Open(k.Domain, Options{Upcall: k.Upcall})
	if err != nil {
		return err
	}
	if k.Fresh {
		err = g.Hold(k.Hold, k.Code)
	} else {
		_, err = g.Adopt([]uint64{k.Hook})
	}
	if err == nil {
		err = g.Plant([]uint64{k.Hook})
	}
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	var s guest.Stop
	for err == nil {
		var command string
		if err := errors.Join(out.Encode(s), in.Decode(&command)); err != nil {
			return err
		}
		switch command {
		case commandRun:
			s, err = g.Run(0)
		case commandPass:
			err = g.Answer(&s, passed(&s))
		case commandDeny:
			var a guest.Answer
			if a, err = denied(g, &s); err == nil {
				err = g.Answer(&s, a)
			}
		}
	}
	return err
}

// guardian starts a guardian and returns it when the trap is set.
func (d *domain) guardian(k kernelFacts, fresh bool) *guardian {
	d.t.Helper()
	text, err := json.Marshal(task{d.name, fresh, k.hold, k.hook, k.upcall, k.code})
	if err != nil {
		d.t.Fatal(err)
	}
	p := &guardian{t: d.t, cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), taskVariable+"="+string(text))
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(p.kill)
	p.in, p.out = json.NewEncoder(in), json.NewDecoder(out)
	p.reply()
	return p
}

func (p *guardian) send(command string) {
	p.t.Helper()
	if err := p.in.Encode(command); err != nil {
		p.t.Fatal(err)
	}
}

func (p *guardian) reply() (s guest.Stop) {
	p.t.Helper()
	if err := p.out.Decode(&s); err != nil {
		p.t.Fatalf("the guardian does not answer: %v", err)
	}
	return s
}

// hit waits for the next hit.
func (p *guardian) hit() guest.Stop {
	p.t.Helper()
	p.send(commandRun)
	s := p.reply()
	if !s.Hit {
		p.t.Fatalf("no hit: %+v", s)
	}
	return s
}

// kill sends SIGKILL and waits: the process does nothing any more.
func (p *guardian) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// book records the answers to the worker of each processor, in order.
type book map[int][]string

// Words that the guest's workers print after an answer.
const (
	wordRan    = "ran"
	wordDenied = "denied"
)

// check compares the output of the guest's workers with the answers: no execution succeeded that
// was not allowed. The output for the last answers may still be missing.
func (d *domain) check(b book) {
	d.t.Helper()
	for worker, answers := range b {
		said := d.saidBy(worker)
		if len(said) > len(answers) || !slices.Equal(said, answers[:len(said)]) {
			d.t.Errorf("processor %d was answered %q, but its worker says %q", worker, answers, said)
		}
	}
}

// checkReleased compares all answers, in a guest that runs unguarded.
func (d *domain) checkReleased(b book) {
	d.t.Helper()
	for worker, answers := range b {
		d.said(fmt.Sprintf("GUEST %d.%d ran", worker, len(answers)+5), 1)
		if said := d.saidBy(worker)[:len(answers)]; !slices.Equal(said, answers) {
			d.t.Errorf("processor %d was answered %q, but its worker says %q", worker, answers, said)
		}
	}
}

// untilRan answers hits until the last answer to each vCPU was to run the function. Xen carries out
// an answer when the vCPU continues, and forgets it if the ring is gone by then. After a release
// such an answer makes no difference.
func untilRan(t *testing.T, g *Guest, b book) {
	t.Helper()
	for slices.ContainsFunc(slices.Collect(maps.Values(b)), func(words []string) bool { return words[len(words)-1] != wordRan }) {
		answer(t, g, b, true)
	}
}

// saidBy returns the results of the executions on a processor.
func (d *domain) saidBy(worker int) (said []string) {
	text, _ := os.ReadFile(d.log)
	for line := range strings.Lines(string(text)) {
		prefix := fmt.Sprintf("GUEST %d.%d ", worker, len(said))
		if _, word, ok := strings.Cut(line, prefix); ok {
			said = append(said, strings.TrimSpace(word))
		}
	}
	return said
}

// serve makes the guardian answer n hits, alternately in both ways.
func (p *guardian) serve(n int, b book) {
	p.t.Helper()
	for range n {
		s := p.hit()
		command, word := commandPass, wordRan
		if len(b[s.VCPU])%2 == 1 {
			command, word = commandDeny, wordDenied
		}
		p.send(command)
		p.reply()
		b[s.VCPU] = append(b[s.VCPU], word)
	}
}

// awaitIdle waits until the domain uses no processor time any more.
func (d *domain) awaitIdle() {
	d.t.Helper()
	used := func() string {
		fields := strings.Fields(d.xl("list", d.name))
		return fields[len(fields)-1]
	}
	for before, end := "", time.Now().Add(timeout); time.Now().Before(end); time.Sleep(300 * time.Millisecond) {
		now := used()
		if now == before {
			return
		}
		before = now
	}
	d.t.Fatal("the domain does not stop")
}

// TestKilled: whenever a guardian is killed, the guest stops, and no program was executed that was
// not allowed. The next guardian continues from there.
func TestKilled(t *testing.T) {
	form := forms["2 vCPUs"]
	if !pv() { // there only the vCPU that hit waits; idle vCPUs never stop
		form = forms["1 vCPU"]
	}
	dir, k := bed(t)
	d := newDomain(t, dir, append(config(), form...)...)
	b := book{}
	p := d.guardian(k, true)
	p.kill() // before the trap was hit
	d.awaitIdle()
	p = d.guardian(k, false)
	p.hit() // the first process
	p.send(commandPass)
	p.reply()
	p.serve(6, b)
	p.send(commandRun)
	p.kill() // while it waits, or at a hit
	d.awaitIdle()
	d.check(b)
	p = d.guardian(k, false)
	p.serve(6, b)
	pending := p.hit()
	p.kill()
	d.awaitIdle()
	d.check(b)
	p = d.guardian(k, false)
	again := p.hit()
	for again.VCPU != pending.VCPU { // another vCPU has hit, too
		p.send(commandPass)
		p.reply()
		b[again.VCPU] = append(b[again.VCPU], wordRan)
		again = p.hit()
	}
	if again.Regs != pending.Regs {
		t.Errorf("the hit was\n%+x, and is now\n%+x", pending.Regs, again.Regs)
	}
	p.send(commandDeny)
	p.reply()
	b[again.VCPU] = append(b[again.VCPU], wordDenied)
	p.serve(6, b)
	p.kill()
	d.awaitIdle()
	d.check(b)
	byHand(t, d, k, b)
}

// byHand unpauses a frozen domain: it stops at its next trap.
func byHand(t *testing.T, d *domain, k kernelFacts, b book) {
	t.Helper()
	g := d.again(k)
	answer(t, g, b, true)
	if err := g.Freeze(); err != nil {
		t.Fatal(err)
	}
	d.xl("unpause", d.name)
	d.awaitIdle()
	g.Close()
	g = d.again(k)
	for range 5 {
		answer(t, g, b, false)
	}
	untilRan(t, g, b)
	if err := g.Release(); err != nil {
		t.Fatal(err)
	}
	d.checkReleased(b)
}

// answer answers the next hit and returns its vCPU.
func answer(t *testing.T, g *Guest, b book, pass bool) (vcpu int) {
	t.Helper()
	s, err := g.Run(timeout)
	if err != nil || !s.Hit {
		t.Fatalf("%+v, %v", s, err)
	}
	reply(t, g, &s, b, pass)
	return s.VCPU
}

func reply(t *testing.T, g *Guest, s *guest.Stop, b book, pass bool) {
	t.Helper()
	a, word := passed(s), wordRan
	if !pass {
		var err error
		if a, err = denied(g, s); err != nil {
			t.Fatal(err)
		}
		word = wordDenied
	}
	if err := g.Answer(s, a); err != nil {
		t.Fatal(err)
	}
	b[s.VCPU] = append(b[s.VCPU], word)
}

// TestBothHit: two vCPUs that hit at the same time are answered one after the other, each with its
// own answer.
func TestBothHit(t *testing.T) {
	d, g, _ := planted(t, forms["2 vCPUs"])
	b := book{}
	serve(t, g, 1, false) // the first process
	both := 0
	for end := time.Now().Add(timeout); both < 4; {
		if time.Now().After(end) {
			t.Fatalf("both vCPUs hit at the same time only %d times", both)
		}
		s, err := g.Run(timeout)
		if err != nil || !s.Hit {
			t.Fatalf("%+v, %v", s, err)
		}
		waits := g.hitMeanwhile(t, s.VCPU)
		reply(t, g, &s, b, both%2 == 0)
		if !waits {
			continue
		}
		both++
		if other := answer(t, g, b, both%2 == 0); other == s.VCPU {
			t.Errorf("vCPU %d was answered and hit again before the other vCPU's hit was reported", other)
		}
	}
	untilRan(t, g, b)
	if err := g.Release(); err != nil {
		t.Fatal(err)
	}
	d.checkReleased(b)
}

// hitMeanwhile reports whether the other vCPU hits the trap while this one waits for its answer. It
// may be idle and wait for this one. A breakpoint pauses the whole domain; hitMeanwhile undoes that
// for the other vCPU.
func (g *Guest) hitMeanwhile(t *testing.T, vcpu int) (hit bool) {
	t.Helper()
	do := func(c command, arg ...uint64) {
		t.Helper()
		if err := g.domctl(c, arg...); err != nil {
			t.Fatal(err)
		}
	}
	if g.pv {
		do(pauseVCPU, uint64(vcpu))
		do(unpauseDomain)
	}
	for end := time.Now().Add(5 * time.Second); !hit && time.Now().Before(end); time.Sleep(pollInterval) {
		r, err := g.loadVCPU(1 - vcpu)
		if err != nil && err != unix.ENODATA {
			t.Fatal(err)
		}
		hit = err == nil && (g.isPlanted(r.RIP) || g.pv && g.isPlanted(r.RIP-1))
	}
	if g.pv {
		do(pauseDomain)
		do(unpauseVCPU, uint64(vcpu))
	}
	return hit
}

// answerUntilError allows everything until an error occurs.
func answerUntilError(g *Guest) (answered int, err error) {
	for ; ; answered++ {
		s, err := g.Run(0)
		if err == nil {
			err = g.Answer(&s, passed(&s))
		}
		if err != nil {
			return answered, err
		}
	}
}

// TestRebooted: a guest that reboots has ended. The domain that replaces it is another one, which
// is not guarded and not touched.
func TestRebooted(t *testing.T) {
	dir, k := bed(t)
	d := newDomain(t, dir, append(config(), "vcpus=1", `on_reboot="restart"`)...)
	g := d.held(k, Options{})
	if err := g.Plant([]uint64{k.hook}); err != nil {
		t.Fatal(err)
	}
	serve(t, g, 5, false)
	id := strings.TrimSpace(d.xl("domid", d.name))
	rebooting := make(chan string, 1)
	go func() {
		out, err := exec.Command("xl", "reboot", d.name).CombinedOutput()
		rebooting <- fmt.Sprintf("%s %v", out, err)
	}()
	_, err := answerUntilError(g)
	t.Log(<-rebooting)
	if !errors.Is(err, guest.ErrEnded) {
		t.Fatal(err)
	}
	if _, err := g.Run(0); !errors.Is(err, guest.ErrEnded) {
		t.Errorf("after its end: %v", err)
	}
	d.said("GUEST ready", 2)
	if now := strings.TrimSpace(d.xl("domid", d.name)); now == id {
		t.Errorf("the domain still has the number %s", id)
	}
	d.said("ran", d.count("ran")+10)
}

// TestSaved: a guest that is saved cannot be guarded any more. After it is restored it does not get
// past the trap.
func TestSaved(t *testing.T) {
	d, g, k := planted(t, []string{"vcpus=1", "memory=112"}) // dom0 has to hold all of it
	serve(t, g, 5, false)
	image := filepath.Join(t.TempDir(), "saved")
	saving := make(chan string, 1)
	go func() {
		out, err := exec.Command("xl", "save", d.name, image).CombinedOutput()
		saving <- fmt.Sprintf("%s %v", out, err)
	}()
	answered, err := answerUntilError(g)
	t.Log(err)
	if err == nil || errors.Is(err, guest.ErrEnded) {
		t.Errorf("a guest that was suspended: %v", err)
	}
	t.Log(<-saving)
	g.Close()
	d.xl("restore", image)
	d.stopped(k)
	if n := len(d.saidBy(0)); n > 5+answered-1 { // without the first process
		t.Errorf("%d programs were executed, but only %d allowed", n, 5+answered-1)
	}
}

// stopped waits until a domain that Xen does not watch has reached the trap: a breakpoint crashes
// its kernel, and another instruction loops.
func (d *domain) stopped(k kernelFacts) {
	d.t.Helper()
	if pv() {
		d.said("int3: 0000", 1)
		return
	}
	g, err := Open(d.name, Options{})
	if err != nil {
		d.t.Fatal(err)
	}
	defer g.Close()
	for end := time.Now().Add(timeout); time.Now().Before(end); {
		_, err := g.Run(aliveInterval)
		if err != nil {
			d.t.Fatal(err)
		}
		all, err := g.VCPUs()
		if err == nil && all[0].RIP >= k.hook && all[0].RIP < k.hook+uint64(len(nop)) {
			return
		}
	}
	d.t.Fatal("the domain has not reached the trap")
}
