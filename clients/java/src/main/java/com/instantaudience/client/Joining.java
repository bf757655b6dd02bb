package com.instantaudience.client;

import com.instantaudience.v1.ApplySegmentsResult;
import com.instantaudience.v1.ApplyWarning;
import com.instantaudience.v1.RequestCounts;
import com.instantaudience.v1.WarningCode;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Combines the results of parts: counts are added, and paths refer to the caller's users.
 *
 * <p>A user whose blocks were sent in several requests is counted once, and reported as skipped only if all of it was.
 */
final class Joining {
  private static final Pattern PLACE = Pattern.compile("rt_segment\\[(\\d+)\\](?:\\.seg_block\\[(\\d+)\\])?");
  private static final int NONE = -1;

  /** The user and the block that a warning is about, or {@link #NONE}. */
  private record Meant(int user, int block) {
    static Meant by(ApplyWarning warning) {
      Matcher found = PLACE.matcher(warning.getPath());
      if (!found.matches()) {
        return new Meant(NONE, NONE);
      }
      int block = found.group(2) == null ? NONE : Integer.parseInt(found.group(2));
      return new Meant(Integer.parseInt(found.group(1)), block);
    }
  }

  private Joining() {}

  static ApplySegmentsResult joined(List<Part> parts, List<ApplySegmentsResult> results) {
    if (results.size() == 1 && parts.get(0).places().stream().allMatch(place -> place.firstBlock() == 0)) {
      ApplySegmentsResult only = results.get(0);
      return only.toBuilder().clearWarnings().addAllWarnings(moved(parts.get(0), only)).build();
    }
    Set<Integer> valid = new HashSet<>();
    int users = 0;
    int segments = 0;
    for (int index = 0; index < results.size(); index++) {
      ApplySegmentsResult result = results.get(index);
      users += result.getMessage().getUsersInRequest();
      segments += result.getMessage().getSegmentsInRequest();
      List<Part.Place> places = parts.get(index).places();
      Set<Integer> skipped = skipped(result);
      for (int user = 0; user < places.size(); user++) {
        if (!skipped.contains(user) && !valid.add(places.get(user).user())) {
          users--;
        }
      }
    }
    return ApplySegmentsResult.newBuilder()
        .setStatus("OK")
        .setMessage(RequestCounts.newBuilder().setUsersInRequest(users).setSegmentsInRequest(segments))
        .addAllWarnings(told(parts, results, valid, users))
        .build();
  }

  private static Set<Integer> skipped(ApplySegmentsResult result) {
    Set<Integer> skipped = new HashSet<>();
    for (ApplyWarning warning : result.getWarningsList()) {
      if (isOfUser(warning)) {
        skipped.add(Meant.by(warning).user());
      }
    }
    return skipped;
  }

  /** The warnings of all parts, without duplicates. */
  private static List<ApplyWarning> told(
      List<Part> parts, List<ApplySegmentsResult> results, Set<Integer> valid, int users) {
    List<ApplyWarning> warnings = new ArrayList<>();
    Set<String> once = new HashSet<>();
    ApplyWarning last = null;
    for (int index = 0; index < results.size(); index++) {
      for (ApplyWarning warning : moved(parts.get(index), results.get(index))) {
        if (warning.getCode() == WarningCode.WARNING_CODE_NO_VALID_USERS) {
          last = warning;
          continue;
        }
        Meant meant = Meant.by(warning);
        boolean isOfWhole = meant.user() != NONE
            && meant.block() == NONE
            && warning.getCode() != WarningCode.WARNING_CODE_TOO_MANY_SEGMENTS;
        boolean isUntrue = isOfWhole && isOfUser(warning) && valid.contains(meant.user());
        if (!isUntrue && (!isOfWhole || once.add(meant.user() + " " + warning.getCodeValue()))) {
          warnings.add(warning);
        }
      }
    }
    if (last != null && users == 0) {
      warnings.add(last);
    }
    return warnings;
  }

  /** The warnings of a part, with paths that refer to the caller's users. */
  private static List<ApplyWarning> moved(Part part, ApplySegmentsResult result) {
    List<ApplyWarning> moved = new ArrayList<>();
    for (ApplyWarning warning : result.getWarningsList()) {
      Meant meant = Meant.by(warning);
      if (meant.user() == NONE || meant.user() >= part.places().size()) {
        moved.add(warning);
        continue;
      }
      Part.Place place = part.places().get(meant.user());
      String ofBlock = meant.block() == NONE ? "" : ".seg_block[" + (place.firstBlock() + meant.block()) + "]";
      moved.add(warning.toBuilder().setPath("rt_segment[" + place.user() + "]" + ofBlock).build());
    }
    return moved;
  }

  /** Whether a warning means that a whole user was skipped. */
  private static boolean isOfUser(ApplyWarning warning) {
    return Rules.WARNINGS_OF_USERS.contains(warning.getCodeValue());
  }
}
