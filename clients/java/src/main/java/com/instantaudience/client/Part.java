package com.instantaudience.client;

import com.instantaudience.v1.RtSegment;
import com.instantaudience.v1.SegBlock;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;

/**
 * A request. {@code places} tells where each of its users comes from, {@code continues} whether the next part has more
 * blocks of the last one.
 */
record Part(List<RtSegment> users, List<Place> places, boolean continues) {
  /** The index of the caller's user, and of the user's first block in a request. */
  record Place(int user, int firstBlock) {}

  Part() {
    this(new ArrayList<>(), new ArrayList<>(), false);
  }

  /** The users that the request changes. */
  Set<String> keys() {
    Set<String> keys = new HashSet<>();
    for (RtSegment user : users) {
      keys.add((user.getDomain() + "\0" + user.getUserId()).toLowerCase(Locale.ROOT));
    }
    return keys;
  }

  /** Why the request cannot be encoded; null if it can. */
  AudienceException unreadable() {
    for (RtSegment user : users) {
      boolean isText = Text.isText(user.getUserId()) && Text.isText(user.getDomain());
      if (!isText || !user.getSegBlockList().stream().map(SegBlock::getSegCode).allMatch(Text::isText)) {
        return Failure.invalid(
            "the user ID, domain or a segment's code of user \"" + user.getUserId() + "\" is no UTF-8");
      }
    }
    return null;
  }

  int firstUser() {
    return places.get(0).user();
  }

  int lastUser() {
    return places.get(places.size() - 1).user();
  }

  /** Number of the caller's users in it. */
  int userCount() {
    return lastUser() - firstUser() + 1;
  }
}
