package com.instantaudience.client;

import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Message;
import com.google.protobuf.MessageOrBuilder;
import java.util.List;
import java.util.Map;

/** Text that can be sent: UTF-8. Encoded, all halves of surrogate pairs would be '?', and different IDs one ID. */
final class Text {
  private Text() {}

  /** Whether a text has no half of a surrogate pair without the other half. */
  static boolean isText(String text) {
    return text.codePoints().noneMatch(each -> Character.getType(each) == Character.SURROGATE);
  }

  /**
   * Checks the text in a message.
   *
   * @throws AudienceException some of it is other text; the error has its place.
   */
  static void check(MessageOrBuilder message) {
    String place = placeOfNone(message);
    if (place != null) {
      throw Failure.invalid(place + " is no UTF-8");
    }
  }

  private static String placeOfNone(MessageOrBuilder message) {
    for (Map.Entry<FieldDescriptor, Object> field : message.getAllFields().entrySet()) {
      Object value = field.getValue();
      for (Object each : value instanceof List<?> values ? values : List.of(value)) {
        String name = field.getKey().getName();
        if (each instanceof String text && !isText(text)) {
          return name;
        }
        String inner = each instanceof Message part ? placeOfNone(part) : null;
        if (inner != null) {
          return name + "." + inner;
        }
      }
    }
    return null;
  }
}
