package com.instantaudience.client;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.instantaudience.v1.ApplySegmentsRequest;
import com.instantaudience.v1.ApplySegmentsResult;
import com.instantaudience.v1.ApplyWarning;
import com.instantaudience.v1.RequestCounts;
import com.instantaudience.v1.RtSegment;
import com.instantaudience.v1.SegBlock;
import com.instantaudience.v1.WarningCode;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** What a request cannot hold goes in several, and is answered as one. */
class SplitterTest {
  private static final int RUNS = 200;
  private static final int MANY = 1_000_000;

  private final Random random = new Random(7);

  @Test
  void nothingIsLostAndNothingIsTooLarge() {
    for (int run = 0; run < RUNS; run++) {
      Limits limits = limits();
      List<RtSegment> given = users();
      List<RtSegment.Builder> whole = new ArrayList<>();
      for (Part part : Splitter.split(given, limits)) {
        assertTrue(part.users().size() <= limits.usersPerCall());
        ApplySegmentsRequest request = ApplySegmentsRequest.newBuilder().addAllRtSegment(part.users()).build();
        assertTrue(request.getSerializedSize() <= limits.bodyBytes());
        for (int index = 0; index < part.users().size(); index++) {
          RtSegment piece = part.users().get(index);
          Part.Place place = part.places().get(index);
          assertTrue(piece.getSegBlockCount() <= limits.segmentsPerUser());
          if (place.user() == whole.size()) {
            whole.add(piece.toBuilder().clearSegBlock());
          }
          RtSegment.Builder begun = whole.get(place.user());
          assertEquals(begun.getSegBlockCount(), place.firstBlock());
          begun.addAllSegBlock(piece.getSegBlockList());
        }
      }
      assertEquals(given, whole.stream().map(RtSegment.Builder::build).toList());
    }
  }

  /** Every block is told of: once, in the caller's order, under the caller's numbers. */
  @Test
  void pathsAreThoseOfTheCallersUsers() {
    for (int run = 0; run < RUNS; run++) {
      List<RtSegment> given = users();
      List<Part> parts = Splitter.split(given, limits());
      ApplySegmentsResult answer = Joining.joined(parts, parts.stream().map(SplitterTest::answer).toList());
      List<String> expected = IntStream.range(0, given.size())
          .boxed()
          .flatMap(user -> IntStream.range(0, given.get(user).getSegBlockCount())
              .mapToObj(block -> "rt_segment[" + user + "].seg_block[" + block + "]"))
          .toList();
      assertEquals(expected, answer.getWarningsList().stream().map(ApplyWarning::getPath).toList());
      assertEquals(given.size(), answer.getMessage().getUsersInRequest());
      assertEquals(expected.size(), answer.getMessage().getSegmentsInRequest());
    }
  }

  private static ApplySegmentsResult answer(Part part) {
    ApplySegmentsResult.Builder answer = ApplySegmentsResult.newBuilder().setStatus("OK");
    int blocks = 0;
    for (int user = 0; user < part.users().size(); user++) {
      for (int block = 0; block < part.users().get(user).getSegBlockCount(); block++, blocks++) {
        answer.addWarningsBuilder()
            .setCode(WarningCode.WARNING_CODE_UNKNOWN_SEGMENT)
            .setPath("rt_segment[" + user + "].seg_block[" + block + "]");
      }
    }
    RequestCounts.Builder counts = RequestCounts.newBuilder();
    return answer.setMessage(counts.setUsersInRequest(part.users().size()).setSegmentsInRequest(blocks)).build();
  }

  private Limits limits() {
    return new Limits(number(1, 4), number(1, 4), number(100, 400), MANY, MANY, MANY);
  }

  private List<RtSegment> users() {
    return IntStream.range(0, number(0, 20)).mapToObj(index -> user()).toList();
  }

  private RtSegment user() {
    RtSegment.Builder user = RtSegment.newBuilder().setUserId("ü".repeat(number(0, 15)));
    IntStream.range(0, number(0, 8)).forEach(id -> user.addSegBlock(SegBlock.newBuilder().setSegId(id)));
    return user.build();
  }

  private int number(int least, int most) {
    return least + random.nextInt(most - least + 1);
  }
}
