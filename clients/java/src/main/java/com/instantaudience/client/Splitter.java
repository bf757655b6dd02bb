package com.instantaudience.client;

import com.instantaudience.v1.RtSegment;
import com.instantaudience.v1.SegBlock;
import java.util.ArrayList;
import java.util.List;

/** Divides users into parts. */
final class Splitter {
  private final Limits limits;
  private Part part = new Part();
  private int bytes;
  private int count;

  Splitter(Limits limits) {
    this.limits = limits;
  }

  /** The requests for these users, in order; a single empty one if there are no users. */
  static List<Part> split(Iterable<RtSegment> users, Limits limits) {
    Splitter splitter = new Splitter(limits);
    List<Part> parts = new ArrayList<>();
    for (RtSegment user : users) {
      parts.addAll(splitter.add(user));
    }
    Part last = splitter.flush();
    if (!last.users().isEmpty() || parts.isEmpty()) {
      parts.add(last);
    }
    return parts;
  }

  /** Adds a user; returns the parts that are complete now. */
  List<Part> add(RtSegment user) {
    List<Part> full = new ArrayList<>();
    int firstBlock = 0;
    for (RtSegment piece : pieces(user)) {
      int size = piece.getSerializedSize() + Rules.FRAME_BYTES;
      // A request with more users than allowed per second would never be accepted.
      boolean isFull = part.users().size() >= Math.min(limits.usersPerCall(), limits.usersPerSecond())
          || bytes + size > limits.bodyBytes();
      if (isFull && !part.users().isEmpty()) {
        Part done = flush();
        full.add(new Part(done.users(), done.places(), done.lastUser() == count));
      }
      part.users().add(piece);
      part.places().add(new Part.Place(count, firstBlock));
      bytes += size;
      firstBlock += piece.getSegBlockCount();
    }
    count++;
    return full;
  }

  /** Whether the incomplete part has no users. */
  boolean isEmpty() {
    return part.users().isEmpty();
  }

  /** Returns the incomplete part, which may be empty. */
  Part flush() {
    Part flushed = part;
    part = new Part();
    bytes = 0;
    return flushed;
  }

  /** The user itself if it fits into a request, else parts of it that do. */
  private List<RtSegment> pieces(RtSegment user) {
    int room = limits.bodyBytes() - Rules.FRAME_BYTES;
    if (user.getSegBlockCount() <= limits.segmentsPerUser() && user.getSerializedSize() <= room) {
      return List.of(user);
    }
    List<RtSegment> pieces = new ArrayList<>();
    RtSegment bare = user.toBuilder().clearSegBlock().build();
    RtSegment.Builder piece = bare.toBuilder();
    int size = bare.getSerializedSize();
    for (SegBlock block : user.getSegBlockList()) {
      int blockSize = block.getSerializedSize() + Rules.FRAME_BYTES;
      boolean isFull = piece.getSegBlockCount() >= limits.segmentsPerUser() || size + blockSize > room;
      if (isFull && piece.getSegBlockCount() > 0) {
        pieces.add(piece.build());
        piece = bare.toBuilder();
        size = bare.getSerializedSize();
      }
      piece.addSegBlock(block);
      size += blockSize;
    }
    pieces.add(piece.build());
    return pieces;
  }
}
