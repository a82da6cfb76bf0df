package signer

import "context"

// inOrder calls f(0), f(1), ... f(n-1), each as soon as its index and all lower
// ones have arrived. It holds the order of results to that of the files,
// whichever worker finishes first.
func inOrder(ctx context.Context, n int, arrived <-chan int, f func(i int) error) error {
	ready := make([]bool, n)
	for next := 0; next < n; {
		select {
		case i := <-arrived:
			ready[i] = true
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for next < n && ready[next] {
			if err := f(next); err != nil {
				return err
			}
			next++
		}
	}
	return nil
}

// send delivers v unless the work is called off.
func send[T any](ctx context.Context, c chan<- T, v T) error {
	select {
	case c <- v:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
