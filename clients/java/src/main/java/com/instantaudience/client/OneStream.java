package com.instantaudience.client;

import com.instantaudience.v1.AudienceServiceGrpc;
import com.instantaudience.v1.StreamSegmentsRequest;
import com.instantaudience.v1.StreamSegmentsResponse;
import io.grpc.CallOptions;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.ClientResponseObserver;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.TimeUnit;

/** One stream of a call: what is in flight on it, and why it failed. */
final class OneStream {
  private static final MethodDescriptor<StreamSegmentsRequest, StreamSegmentsResponse> METHOD =
      AudienceServiceGrpc.getStreamSegmentsMethod();
  /** Interval between checks whether a stream is stuck. */
  private static final long LOOK_NANOS = TimeUnit.MILLISECONDS.toNanos(250);

  private final Streaming all;
  private final Calling calling;
  private final Pacer pacer;
  private final Source source;
  private final String token;
  private final String requestId = Calling.newRequestId();
  /** Requests to be sent. */
  private final Deque<Sent> queue;
  /** Requests that were sent and are not answered. */
  private final Deque<Sent> pending = new ArrayDeque<>();
  private ClientCallStreamObserver<StreamSegmentsRequest> call;
  /** The first error that is worth a retry: after it nothing is sent, but answers are still read. */
  private AudienceException failure;
  /** Whether {@code turn} has been taken for the first request of the queue. */
  private boolean hasTurn;
  /** Whether its turn has come, so that it is sent as soon as the connection accepts it. */
  private boolean isDue;
  private Pacer.Turn turn;
  private boolean isSent;
  private boolean isOver;
  /** Since when only the service has been waited for; time in which the process was stopped does not count. */
  private long resumed;
  /** When something was last waited for, for {@code LOOK_NANOS} at most. */
  private long looked;

  /** {@code token} is null if none is needed. */
  OneStream(Streaming all, Calling calling, Pacer pacer, Source source, String token) {
    this.all = all;
    this.calling = calling;
    this.pacer = pacer;
    this.source = source;
    this.token = token;
    queue = all.window().toRepeat();
    resumed = all.now();
    looked = resumed;
  }

  /** Why the stream is over; null if everything is answered. */
  AudienceException failure() {
    return failure;
  }

  void add(Sent request) {
    queue.addLast(request);
  }

  /** Sends and receives until the stream is over. */
  void run() {
    long began = System.nanoTime();
    ClientCalls.asyncBidiStreamingCall(
        calling.channel(token, requestId).newCall(METHOD, CallOptions.DEFAULT), new Answers());
    try {
      while (!isOver) {
        step();
      }
    } finally {
      if (!isOver) {
        fail(Failure.givenUp(requestId)); // Where nothing has failed before.
      }
      isOver = true;
      call.cancel("the stream is over", null); // Where it has ended, this does nothing.
      if (hasTurn) {
        pacer.giveBack(turn);
      }
      calling.tell(METHOD, 1, began, requestId, failure);
    }
  }

  private void step() {
    Deadline.check();
    long wait = send();
    look();
    boolean isStuck = isStuck();
    // Received answers are processed first: the service is late only if there are none.
    Runnable event = all.events().poll();
    if (event == null && isStuck) {
      fail(Failure.unavailable("the stream does not go on", requestId));
      isOver = true;
      return;
    }
    try {
      event = event == null ? all.events().poll(wait, TimeUnit.NANOSECONDS) : event;
    } catch (InterruptedException interrupt) {
      throw Deadline.givenUp();
    }
    look();
    if (event != null) {
      event.run();
    }
  }

  /** Sends what may be sent now; returns how long to wait for what may be sent then. */
  private long send() {
    while (!isSent) {
      if (failure != null || (queue.isEmpty() && all.isExhausted())) {
        isSent = true;
        call.onCompleted();
      } else if (queue.isEmpty()) {
        all.ask(source);
        if (queue.isEmpty()) {
          return Streaming.LINGER_NANOS;
        }
      } else {
        long wait = turnOf(queue.peekFirst());
        if (wait > 0) {
          return Math.min(wait, LOOK_NANOS);
        }
        if (!call.isReady()) {
          break;
        }
        sendFirst();
      }
    }
    return LOOK_NANOS;
  }

  /** The nanoseconds until the first request of the queue may be sent. */
  private long turnOf(Sent first) {
    if (!hasTurn) {
      hasTurn = true;
      turn = pacer.turn(first.part().users().size(), all.limits(), Long.MAX_VALUE);
    }
    long wait = turn.at() - System.nanoTime();
    if (wait <= 0 && !isDue) {
      isDue = true;
      first.begin(all.now());
    }
    return wait;
  }

  private void sendFirst() {
    Sent first = queue.removeFirst();
    hasTurn = false;
    isDue = false;
    pending.addLast(first);
    call.onNext(StreamSegmentsRequest.newBuilder().addAllRtSegment(first.part().users()).build());
  }

  /** Does not count time in which the process was stopped as time in which something was waited for. */
  private void look() {
    long now = all.now();
    long late = now - looked - LOOK_NANOS;
    if (late > 0) {
      resumed += Math.min(late, now - resumed);
      all.excuse(late);
    }
    looked = now;
  }

  /** Whether an answer, or the end of the stream after everything was sent, is overdue. */
  private boolean isStuck() {
    Sent first = pending.isEmpty() && isDue ? queue.peekFirst() : pending.peekFirst();
    long now = all.now();
    long since = first != null ? first.since() : isSent ? resumed : now;
    return Math.min(now - since, now - resumed) > Deadline.nanos(calling.retries().attempt());
  }

  private void fail(AudienceException error) {
    if (failure == null) {
      failure = error;
    }
  }

  private void answered(StreamSegmentsResponse response) {
    Sent first = pending.pollFirst();
    if (first == null) {
      failure = Failure.internal("an answer to nothing", requestId);
      throw failure;
    }
    if (response.hasResponse()) {
      first.answer(response.getResponse());
    } else if (!response.hasError()) {
      first.fail(Failure.saysNothing(requestId));
    } else {
      String name = response.getRequestId().isEmpty() ? requestId : response.getRequestId();
      AudienceException error = Failure.ofStatus(response.getError(), name);
      if (error.isWorthAnotherTry() || error instanceof UnauthenticatedException) {
        fail(error);
      } else {
        first.fail(error);
      }
    }
    all.giveResults();
    resumed = all.now(); // The caller may have been busy with them.
  }

  private void ended(Throwable thrown) {
    isOver = true;
    if (thrown != null) {
      fail(Failure.ofCall(Status.fromThrowable(thrown).asRuntimeException(Status.trailersFromThrowable(thrown)), requestId));
    } else if (!isSent || !pending.isEmpty()) {
      fail(Failure.unavailable("the stream ended early", requestId));
    }
  }

  /** Passes what is received to the caller's thread. */
  private final class Answers implements ClientResponseObserver<StreamSegmentsRequest, StreamSegmentsResponse> {
    @Override
    public void beforeStart(ClientCallStreamObserver<StreamSegmentsRequest> observer) {
      call = observer;
      observer.setOnReadyHandler(() -> tell(() -> {}));
    }

    @Override
    public void onNext(StreamSegmentsResponse response) {
      tell(() -> answered(response));
    }

    @Override
    public void onError(Throwable thrown) {
      tell(() -> ended(thrown));
    }

    @Override
    public void onCompleted() {
      tell(() -> ended(null));
    }

    private void tell(Runnable event) {
      all.events().add(() -> {
        if (!isOver) { // Else nobody waits for it any more.
          event.run();
        }
      });
    }
  }
}
