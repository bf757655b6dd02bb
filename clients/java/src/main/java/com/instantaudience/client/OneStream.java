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

/** What is under way on one stream, and what has failed. */
final class OneStream {
  private static final MethodDescriptor<StreamSegmentsRequest, StreamSegmentsResponse> METHOD =
      AudienceServiceGrpc.getStreamSegmentsMethod();
  /** How often it is looked whether a stream still goes on. */
  static final long LOOK_NANOS = TimeUnit.MILLISECONDS.toNanos(250);

  private final Streaming all;
  private final Calling calling;
  private final Pacer pacer;
  private final Source source;
  private final String token;
  private final String requestId = Calling.newRequestId();
  /** What is to be sent. */
  private final Deque<Sent> queue;
  /** What was sent and is not answered. */
  private final Deque<Sent> pending = new ArrayDeque<>();
  private ClientCallStreamObserver<StreamSegmentsRequest> call;
  /** The first failure that is worth another try: nothing is sent after it, and what was sent is answered. */
  private AudienceException failure;
  /** The first request of the queue has {@code turn}. */
  private boolean hasTurn;
  /** It may go now, as soon as the connection takes it. */
  private boolean isDue;
  private Pacer.Turn turn;
  private boolean isSent;
  private boolean isOver;
  /** Since when nothing but the service is waited for. */
  private long resumed = System.nanoTime();

  /** {@code token} is null where none is needed. */
  OneStream(Streaming all, Calling calling, Pacer pacer, Source source, String token) {
    this.all = all;
    this.calling = calling;
    this.pacer = pacer;
    this.source = source;
    this.token = token;
    queue = all.window().toRepeat();
  }

  /** Why the stream is over; null where all is answered. */
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
    // What has come goes first: only when there is nothing more of it, the service is late.
    Runnable event = all.events().poll();
    if (event == null && isStuck()) {
      fail(Failure.unavailable("the stream does not go on", requestId));
      isOver = true;
      return;
    }
    try {
      event = event == null ? all.events().poll(wait, TimeUnit.NANOSECONDS) : event;
    } catch (InterruptedException interrupt) {
      throw Deadline.givenUp();
    }
    if (event != null) {
      event.run();
    }
  }

  /** Sends what may go now; how long to wait for what may go then. */
  private long send() {
    while (!isSent) {
      if (failure != null || (queue.isEmpty() && all.isExhausted())) {
        isSent = true;
        call.onCompleted();
      } else if (queue.isEmpty()) {
        all.ask(source);
        break;
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

  /** In how many nanoseconds the first of the queue may go. */
  private long turnOf(Sent first) {
    if (!hasTurn) {
      hasTurn = true;
      turn = pacer.turn(first.part().users().size(), all.limits(), Long.MAX_VALUE);
    }
    long wait = turn.at() - System.nanoTime();
    if (wait <= 0 && !isDue) {
      isDue = true;
      first.begin();
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

  /** Whether an answer, or the end where all is sent, is waited for too long. */
  private boolean isStuck() {
    Sent first = pending.isEmpty() && isDue ? queue.peekFirst() : pending.peekFirst();
    long now = System.nanoTime();
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
    resumed = System.nanoTime(); // The caller may have been busy with them.
  }

  private void ended(Throwable thrown) {
    isOver = true;
    if (thrown != null) {
      fail(Failure.ofCall(Status.fromThrowable(thrown).asRuntimeException(Status.trailersFromThrowable(thrown)), requestId));
    } else if (!isSent || !pending.isEmpty()) {
      fail(Failure.unavailable("the stream ended early", requestId));
    }
  }

  /** Tells the caller's thread what comes. */
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
